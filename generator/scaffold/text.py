"""What was found, as the text of `models.yaml`. Pure.

What nobody can know stands there as a comment, `# TODO key: what to write`, and the key is
missing: a recipe with such lines is refused with the name of the key, until it is filled in.
"""

from collections.abc import Iterator, Sequence
from itertools import chain

import yaml
from pydantic import JsonValue

from generator.scaffold.found import Found, FoundEnsemble, FoundInput, FoundModel

TODO = "# TODO "
_LEFT_OUT = "# - "
_WIDTH = 96
_TOLD = 2
_SOME_SIZES = (1, 32, 128)
_DTYPE = "dtype: what the model takes, such as FP32, INT64, BOOL, BYTES"
_SHAPE = "shape: without the batch dimension, such as [13]; a name where a size varies: [seq]"
_OUTPUTS = "outputs: one name for each tensor that forward() returns, such as [score]"
_BATCH = "max_batch_size: the most requests at once, such as 8; 0 if there is no batch dimension"


def recipe_text(found: Found, *, origin: str, triton: str, target: str) -> str:
    """`origin` is what was looked at; `triton` and `target` are as in a recipe."""
    head = [
        f"# Begun by `pilotlight init {origin}`; from here on it is yours.",
        f'triton: "{triton}"',
        f"target: {target}",
        "models:",
    ]
    blocks = [
        "\n".join([*head, *_entry(found.models[0])]),
        *("\n".join(_entry(model)) for model in found.models[1:]),
    ]
    if found.ensembles:
        blocks.append("\n".join(["ensembles:", *chain(*map(_ensemble, found.ensembles))]))
    if found.left_out:
        blocks.append("\n".join(["# Left out:", *(f"{_LEFT_OUT}{why}" for why in found.left_out)]))
    return "\n\n".join(blocks) + "\n"


def to_fill_in(text: str) -> list[str]:
    """What waits in a recipe for somebody who knows: model and input, key, what to write."""
    found = []
    within: dict[int, str] = {}
    for line in text.splitlines():
        depth = len(line) - len(line.lstrip())
        within = {at: name for at, name in within.items() if at < depth}
        if line.lstrip().startswith("- name: "):
            within[depth] = line.partition(": ")[2]
        elif TODO in line:
            found.append(": ".join([*within.values(), line.partition(TODO)[2]]))
    return found


def together(waiting: Sequence[str]) -> list[str]:
    """What is to be filled in, told once for all models that wait for the same."""
    models: dict[str, list[str]] = {}
    for line in waiting:
        model, _, what = line.partition(": ")
        models.setdefault(what, []).append(model)
    return [f"{_some(names)}: {what}" for what, names in models.items()]


def _some(names: Sequence[str]) -> str:
    if len(names) <= _TOLD:
        return ", ".join(names)
    return f"{names[0]} … {names[-1]} ({len(names)} models)"


def left_out(text: str) -> list[str]:
    """What is there, too, and why no entry was made of it."""
    lines = text.splitlines()
    return [line.removeprefix(_LEFT_OUT) for line in lines if line.startswith(_LEFT_OUT)]


def _entry(model: FoundModel) -> Iterator[str]:
    yield from (f"  # {note}" for note in model.notes)
    yield f"  - name: {model.name}"
    yield from _version(model.version)
    yield from (f"    {line}" for line in _keys(model))


def _keys(model: FoundModel) -> Iterator[str]:
    yield from (f"{key}: {_flow(place)}" for key, place in model.source.items())
    yield "inputs:"
    for spec in model.inputs:
        yield from _input(spec)
    known = {dim.name: _range(dim.sizes) for dim in model.dims if dim.sizes}
    if known:
        yield "dims:"
        yield from (f"  {name}: {sizes}" for name, sizes in known.items())
    if unknown := [dim.name for dim in model.dims if dim.name not in known]:
        such = ", ".join(f"{name}: {_range(_SOME_SIZES)}" for name in unknown)
        yield f"{TODO}dims: the sizes that inputs take, such as {{{such}}}"
    yield f"outputs: {_flow(list(model.outputs))}" if model.outputs else TODO + _OUTPUTS
    if model.max_batch_size is None:
        yield TODO + _BATCH
    else:
        yield f"max_batch_size: {model.max_batch_size}"
    for key, value in model.keys.items():
        yield from _key(key, value)


def _ensemble(ensemble: FoundEnsemble) -> Iterator[str]:
    yield f"  - name: {ensemble.name}"
    yield from _version(ensemble.version)
    yield f"    inputs: {_flow(list(ensemble.inputs))}"
    yield f"    outputs: {_flow(list(ensemble.outputs))}"
    yield "    steps:"
    yield from (f"      - {_flow(step.model_dump())}" for step in ensemble.steps)


def _version(version: int | None) -> Iterator[str]:
    if version is not None:
        yield f"    version: {version}  # as clients name it; without it, changes get the next one"


def _input(spec: FoundInput) -> Iterator[str]:
    known = {
        "name": spec.name,
        "dtype": spec.datatype and spec.datatype.value,
        "shape": spec.shape and list(spec.shape),
        "range": spec.range and list(spec.range),
        "fill": spec.fill,
    }
    said = {key: value for key, value in known.items() if value is not None}
    unknown = (hint for key, hint in (("dtype", _DTYPE), ("shape", _SHAPE)) if key not in said)
    missing = [*unknown, *spec.hints]
    if not missing:
        yield f"  - {_flow(said)}"
        return
    yield f"  - name: {spec.name}"
    yield from (f"    {key}: {_flow(value)}" for key, value in said.items() if key != "name")
    yield from (f"    {TODO}{hint}" for hint in missing)


def _range(sizes: tuple[int, int, int]) -> str:
    return _flow(dict(zip(("min", "opt", "max"), sizes, strict=True)))


def _key(key: str, value: JsonValue) -> Iterator[str]:
    line = f"{key}: {_flow(value)}"
    if len(line) <= _WIDTH:
        yield line
    else:
        yield from yaml.safe_dump({key: value}, sort_keys=False, width=_WIDTH).splitlines()


def _flow(value: object) -> str:
    text: str = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10_000)
    return text.removesuffix("\n").removesuffix("\n...")
