"""A look at a Python module, for workers: what in it makes a model, and what that model takes.

Only what says that it returns a module is called: a function of a stranger's file may do
anything. Shapes come from example inputs; from nothing else can they be told.
"""

import importlib
import inspect
import sys
import typing
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any, TypeGuard, TypeVar

import torch

from contract.dtypes import Datatype, datatype_of
from contract.errors import UnsupportedDatatype
from generator import worker
from generator.errors import StageRefused
from generator.exporters.precision import served_dtype
from generator.scaffold.found import Found, FoundInput, FoundModel, LookJob
from generator.worker import shorten

EXAMPLES = "example_inputs"
_BATCH = 8

T = TypeVar("T")
Create = Callable[[], torch.nn.Module]


def look(job: LookJob) -> Found:
    """Every model that the module makes without being given anything.

    Raises:
        StageRefused: it cannot be imported, or makes no model.
    """
    sys.path.insert(0, str(job.module.parent))
    try:
        module = importlib.import_module(job.module.stem)
    # Whatever importing the author's file raises is reported, never passed over.
    except Exception as error:
        raise StageRefused(
            f"importing {job.module} raised {type(error).__name__}: {shorten(str(error))}"
        ) from error
    left_out: list[str] = []
    makers = dict(_functions(module, left_out)) or dict(_classes(module, left_out))
    models = [
        found
        for name, create in makers.items()
        if (found := _look_at(module, name, create, left_out)) is not None
    ]
    if not models:
        seen = f" ({'; '.join(left_out)})" if left_out else ""
        raise StageRefused(
            f"{job.module} makes no model{seen}; write a function that needs no arguments and says "
            "what it returns: def create() -> torch.nn.Module"
        )
    return Found(models=tuple(models), left_out=tuple(left_out))


def _functions(module: ModuleType, left_out: list[str]) -> Iterator[tuple[str, Create]]:
    for name, function in inspect.getmembers(module, inspect.isfunction):
        if function.__module__ != module.__name__ or name.startswith("_") or name == EXAMPLES:
            continue
        returned = _hints(function).get("return")
        if _is_module(returned):
            if _needs_nothing(function):
                yield name, function
            else:
                left_out.append(f"{name}() needs arguments: an entry for it says args")
        elif any(map(_is_module, typing.get_args(returned))):
            left_out.append(
                f"{name}() was not called: it says that it returns {returned}; let it return the "
                f"module alone, and {EXAMPLES}() what goes in"
            )
        elif returned is None and _needs_nothing(function):
            left_out.append(
                f"{name}() was not called: it does not say that it returns a torch.nn.Module"
            )


def _is_module(kind: object) -> TypeGuard[type[torch.nn.Module]]:
    return isinstance(kind, type) and issubclass(kind, torch.nn.Module)


def _classes(module: ModuleType, left_out: list[str]) -> Iterator[tuple[str, Create]]:
    """Modules that are no part of another one of the file."""
    found: dict[str, torch.nn.Module] = {}
    for name, kind in inspect.getmembers(module, inspect.isclass):
        if kind.__module__ == module.__name__ and _is_module(kind):
            if not _needs_nothing(kind):
                left_out.append(f"{name} needs arguments: an entry for it says args")
            elif (made := _attempt(name, kind, left_out)) is not None:
                found[name] = made
    parts = {
        type(part) for whole in found.values() for part in whole.modules() if part is not whole
    }
    for name, whole in found.items():
        if type(whole) not in parts:
            yield name, type(whole)


def _look_at(
    module: ModuleType, name: str, create: Create, left_out: list[str]
) -> FoundModel | None:
    made = _attempt(name, create, left_out)
    if made is None:
        return None
    notes = []
    if made.training:
        notes.append(f"TODO {name} gives a module in training state: let it call .eval()")
    made.eval()
    names = [
        each.name
        for each in inspect.signature(made.forward).parameters.values()
        if each.default is each.empty and each.kind is not each.VAR_KEYWORD
    ]
    examples = _attempt(EXAMPLES, lambda: _examples(module, made, names), left_out)
    kind = type(made)
    # Of a library's class, and of a parent, the words are not the author's.
    if kind.__module__ == module.__name__ and kind.__doc__:
        notes.append(f"{kind.__name__}: {inspect.cleandoc(kind.__doc__).splitlines()[0]}")
    rows = min(
        (part.num_embeddings for part in made.modules() if isinstance(part, torch.nn.Embedding)),
        default=None,
    )
    source = {"source": f"{module.__name__}:{name}"}
    ran = examples and _attempt(name, lambda: _run(made, examples), left_out)
    if not examples or not ran:
        if rows:
            notes.append(f"Its smallest table has {rows} rows: inputs of ids, range: [0, {rows}]")
        return FoundModel(
            name=_model_name(module, name),
            source=source,
            inputs=tuple(FoundInput(name=each) for each in names),
            notes=tuple(notes),
        )
    batches, outputs = ran
    return FoundModel(
        name=_model_name(module, name),
        source=source,
        inputs=tuple(
            _input(each, tensor, rows, batches=batches)
            for each, tensor in zip(names, examples, strict=True)
        ),
        outputs=outputs,
        max_batch_size=_BATCH if batches else 0,
        notes=tuple(notes),
    )


def _model_name(module: ModuleType, name: str) -> str:
    """The file's, for its one `create`; else the callable's."""
    return module.__name__ if name in ("create", "make", "build", "model") else name


def _attempt(name: str, call: Callable[[], T], left_out: list[str]) -> T | None:
    try:
        return call()
    # The author's code may raise anything; it is reported, never passed over.
    except Exception as error:  # noqa: BLE001
        left_out.append(f"{name} raised {type(error).__name__}: {shorten(str(error))}")
        return None


def _examples(
    module: ModuleType, made: torch.nn.Module, names: Sequence[str]
) -> tuple[torch.Tensor, ...]:
    """What `example_inputs`, of the model or of the file, gives; empty where it does not fit."""
    offered = getattr(made, EXAMPLES, None) or getattr(module, EXAMPLES, None)
    given = offered() if callable(offered) else offered
    if torch.is_tensor(given):
        given = (given,)
    if isinstance(given, dict):
        given = [given.get(name) for name in names]
    tensors = tuple(given or ())
    return tensors if len(tensors) == len(names) and all(map(torch.is_tensor, tensors)) else ()


def _run(
    made: torch.nn.Module, examples: Sequence[torch.Tensor]
) -> tuple[bool, tuple[str, ...] | None]:
    """Whether the first dimension is a batch, and names for the outputs.

    It is one where the answer to everything twice is twice as long.
    """
    with torch.no_grad():
        once = _answers(made, examples)
        if not all(tensor.ndim for tensor in (*examples, *once.values())):
            return False, tuple(once)
        try:
            twice = _answers(made, [torch.cat([tensor, tensor]) for tensor in examples])
        # A model for one request at a time may refuse two in any way it likes.
        except Exception:  # noqa: BLE001
            return False, tuple(once)
    batches = all(twice[name].shape[0] == 2 * once[name].shape[0] for name in once)
    return batches, tuple(once)


def _answers(made: torch.nn.Module, given: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
    answer = made(*given)
    if isinstance(answer, dict):
        return answer
    several = answer if isinstance(answer, tuple | list) else (answer,)
    if len(several) == 1:
        return {"output": several[0]}
    return {f"output_{index}": tensor for index, tensor in enumerate(several)}


def _input(name: str, tensor: torch.Tensor, rows: int | None, *, batches: bool) -> FoundInput:
    shape = tuple(tensor.shape[1 if batches else 0 :])
    try:
        datatype = datatype_of(tensor.to(served_dtype(tensor.dtype)).numpy())
    except UnsupportedDatatype:
        return FoundInput(name=name, shape=shape)
    whole = not datatype.is_float and datatype is not Datatype.BOOL
    highest = rows or int(tensor.max()) + 1
    return FoundInput(
        name=name, datatype=datatype, shape=shape, range=(0, highest) if whole else None
    )


def _needs_nothing(thing: Callable[..., object]) -> bool:
    return all(
        each.default is not each.empty or each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
        for each in inspect.signature(thing).parameters.values()
    )


def _hints(function: Callable[..., object]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function)
    # Annotations may name anything, also what exists only for a type checker.
    except Exception:  # noqa: BLE001
        return {}


if __name__ == "__main__":
    worker.main(look, LookJob)
