"""One model of a Triton repository, as an entry of a recipe. Pure."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from contract.config import ModelConfig
from contract.dtypes import Datatype
from contract.warmup import datatype_from_config
from generator.config.schema import is_map
from generator.lint.rules.tensors import unknown
from generator.recipe import Target
from generator.scaffold.found import FoundDim, FoundInput, FoundModel, Graph

_DIM_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# What Triton assumes of a model whose config it has to make up.
_MADE_UP_BATCH = 4
_FIRST = 1
_VARIES = -1
_KINDS = {"KIND_CPU": "cpu", "KIND_GPU": "gpu", "KIND_MODEL": "model"}
# What a recipe decides in words of its own, and what it plans itself.
_DERIVED = frozenset(
    (
        *("name", "backend", "platform", "default_model_filename", "max_batch_size"),
        *("input", "output", "model_warmup"),
    )
)
# Of an input or output, what a recipe says in its own words.
_TENSOR_FIELDS = frozenset(("name", "data_type", "dims", "label_filename"))
_RANGE = "range: [low, high) of the values, or fill: mask; nothing in the file tells"
_VALUES = "values: some texts that the model understands, such as [red shoes]"

Said = dict[str, Any]
"""A config as a mapping; what a recipe says in its own words is taken out of it, key by key."""


@dataclass(frozen=True, slots=True)
class Model:
    """`config` is empty where there is none; `file` is the ONNX file of the newest version.

    `versions` are all that have one, ascending; none of a file that lies in no repository.
    """

    name: str
    config: ModelConfig
    file: Path
    versions: tuple[int, ...] = ()


def kinds(config: ModelConfig) -> set[str]:
    """On what its instances run, in a recipe's words."""
    return {group["kind"] for group in _take_groups(_as_data(config))}


def entry(model: Model, graph: Graph, target: Target, recipe_folder: Path) -> FoundModel:
    """What the config and the graph say, in a recipe's words; paths are from `recipe_folder`."""
    config, said = model.config, _as_data(model.config)
    max_batch_size = config.max_batch_size or (0 if config.input else _made_up(graph))
    lead = 1 if max_batch_size else 0
    inputs = tuple(_inputs(config, graph, lead))
    names = dict.fromkeys(
        size for spec in inputs for size in spec.shape or () if isinstance(size, str)
    )
    seen = _seen_sizes(config, inputs)
    notes = [*_other_versions(model.versions), *_not_taken_over(said)]
    outputs = [*_outputs(model, graph, recipe_folder)] or [item.name for item in graph.outputs]
    keys = {
        "batching": _take_batching(said),
        "instances": _instances(_take_groups(said), target),
        "version_policy": _take_version_policy(said),
        "response_cache": said.pop("response_cache", {}).get("enable") or None,
        "config": {key: value for key, value in said.items() if key not in _DERIVED} or None,
    }
    return FoundModel(
        name=model.name,
        version=clients_version(model.versions),
        source={"onnx": relative(model.file, recipe_folder)},
        inputs=inputs,
        dims=tuple(FoundDim(name=name, sizes=seen.get(name)) for name in names),
        outputs=tuple(outputs),
        max_batch_size=max_batch_size,
        keys={key: value for key, value in keys.items() if value is not None},
        notes=tuple(notes),
    )


def _made_up(graph: Graph) -> int:
    """As Triton, where no inputs are listed: it batches if all first dimensions vary."""
    tensors = (*graph.inputs, *graph.outputs)
    varies = all(item.shape and not isinstance(item.shape[0], int) for item in tensors)
    return _MADE_UP_BATCH if varies else 0


def _inputs(config: ModelConfig, graph: Graph, lead: int) -> Iterator[FoundInput]:
    shapes = {item.name: item.shape[lead:] for item in graph.inputs}
    told: dict[str, tuple[Datatype | None, tuple[int, ...]]] = {
        item.name: (datatype_from_config(item.data_type), tuple(item.dims)) for item in config.input
    } or {
        item.name: (
            item.datatype,
            tuple(size if isinstance(size, int) else _VARIES for size in item.shape[lead:]),
        )
        for item in graph.inputs
    }
    for name, (datatype, dims) in told.items():
        symbols = shapes.get(name, ())
        shape = tuple(
            size if size > 0 else _dim_name(symbols[axis : axis + 1], f"{name}_{axis}")
            for axis, size in enumerate(dims)
        )
        yield FoundInput(
            name=name,
            datatype=datatype,
            shape=shape,
            hints=_hints(datatype, picks_rows=name in graph.rows),
        )


def _dim_name(symbol: tuple[int | str | None, ...], otherwise: str) -> str:
    name = symbol[0] if symbol else None
    if isinstance(name, str) and _DIM_NAME.fullmatch(name) and name != "batch":
        return name
    return re.sub(r"\W", "_", otherwise)


def _hints(datatype: Datatype | None, *, picks_rows: bool) -> tuple[str, ...]:
    if datatype is Datatype.BYTES:
        return (_VALUES,)
    if datatype is None or datatype.is_float or datatype is Datatype.BOOL or picks_rows:
        return ()
    return (_RANGE,)


def _seen_sizes(
    config: ModelConfig, inputs: tuple[FoundInput, ...]
) -> Mapping[str, tuple[int, int, int]]:
    """Smallest, middle and largest size of each dimension that warm-up samples show to vary."""
    seen: dict[str, set[int]] = {}
    for sample in config.model_warmup:
        for spec in inputs:
            sizes = sample.inputs[spec.name].dims if spec.name in sample.inputs else ()
            for size, name in zip(sizes, spec.shape or (), strict=False):
                if isinstance(name, str):
                    seen.setdefault(name, set()).add(size)
    ordered = {name: sorted(sizes) for name, sizes in seen.items() if len(sizes) > 1}
    return {name: (sizes[0], sizes[len(sizes) // 2], sizes[-1]) for name, sizes in ordered.items()}


def clients_version(versions: Sequence[int]) -> int | None:
    """The newest, which clients may name; None where the build's own first number is the same."""
    return newest if (newest := max(versions, default=_FIRST)) != _FIRST else None


def _other_versions(versions: Sequence[int]) -> Iterator[str]:
    if len(versions) > 1:
        yield (
            f"Of its versions {', '.join(map(str, versions))} the newest is taken over; an entry "
            "for another names its file and `version`."
        )


def unknown_outputs(model: Model, graph: Graph) -> Iterator[str]:
    """Why outputs of the config are left out: the graph lacks them."""
    known = [item.name for item in graph.outputs]
    path = f"{model.file.parent.name}/{model.file.name}"
    found = (unknown("output", item.name, known, path) for item in model.config.output)
    yield from filter(None, found)


def _outputs(model: Model, graph: Graph, recipe_folder: Path) -> Iterator[JsonValue]:
    known = {item.name for item in graph.outputs}
    for item in model.config.output:
        if item.name not in known:
            continue
        if item.label_filename:
            labels = model.file.parents[1] / item.label_filename
            yield {"name": item.name, "labels": relative(labels, recipe_folder)}
        else:
            yield item.name


def relative(path: Path, folder: Path) -> str:
    """As recipes want it: below the recipe's folder, or absolute, and never with `..`."""
    path, folder = (Path(os.path.normpath(each.absolute())) for each in (path, folder))
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)


def _as_data(message: Any) -> Said:
    """What is set, by the names of the schema: what `config` of a recipe takes."""
    return {field.name: _field(field, value) for field, value in message.ListFields()}


def _field(field: Any, value: Any) -> Any:
    if is_map(field):
        of_value = field.message_type.fields_by_name["value"]
        return {str(key): _item(of_value, item) for key, item in value.items()}
    return [_item(field, item) for item in value] if field.is_repeated else _item(field, value)


def _item(field: Any, value: Any) -> Any:
    if field.message_type is not None:
        return _as_data(value)
    return field.enum_type.values_by_number[value].name if field.enum_type is not None else value


def _not_taken_over(said: Said) -> Iterator[str]:
    """Notes on what a recipe decides itself, taken out of `said`."""
    if said.get("model_warmup"):
        yield "Its warm-up is planned anew."
    optimization = said.get("optimization", {})
    if optimization.pop("execution_accelerators", None):
        yield "Its execution accelerators are not taken over: see `format`."
    if not optimization:
        said.pop("optimization", None)
    for kind in ("input", "output"):
        for item in said.get(kind, []):
            if further := ", ".join(sorted(item.keys() - _TENSOR_FIELDS)):
                yield f"Not taken over: {further} of {kind} {item['name']}."
    if said.get("version_policy", {}).get("specific"):
        yield "Its version_policy names versions; of a recipe's entry, that is `version`."


def _take_batching(said: Said) -> JsonValue:
    batcher = said.pop("dynamic_batching", None)
    if batcher is None:
        return None
    ours: dict[str, JsonValue] = {}
    if preferred := batcher.pop("preferred_batch_size", None):
        ours["preferred"] = preferred
    if delay := batcher.pop("max_queue_delay_microseconds", 0):
        ours["max_queue_delay_us"] = delay
    if batcher.pop("preserve_ordering", False):
        ours["preserve_ordering"] = True
    if batcher:
        said["dynamic_batching"] = batcher
    return ours


def _take_groups(said: Said) -> list[dict[str, Any]]:
    """Instance groups in a recipe's words; what these lack stays in `said`."""
    groups = said.pop("instance_group", None) or [{}]
    ours = [
        {"kind": _KINDS.get(group.pop("kind", ""), "auto"), "count": group.pop("count", 1)}
        | ({"gpus": gpus} if (gpus := group.pop("gpus", [])) else {})
        for group in groups
    ]
    if any(groups):
        said["instance_group"] = groups
    return ours


def _instances(groups: list[dict[str, Any]], target: Target) -> JsonValue:
    (first, *others) = groups
    if others or first["kind"] != target or "gpus" in first:
        return list(groups)
    count: int = first["count"]
    return count if count > 1 else None


def _take_version_policy(said: Said) -> JsonValue:
    policy = said.pop("version_policy", {})
    if "all" in policy:
        return "all"
    number: int = policy.get("latest", {}).get("num_versions", 1)
    return number if number > 1 else None
