"""Do the steps of an ensemble fit together? By the rules that Triton goes by at load. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from contract.dtypes import Datatype
from contract.manifest import Signature, TensorSpec
from contract.strict import nearest
from generator.errors import EnsembleRefused
from generator.recipe import EnsembleRecipe

_VARIES = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class _End:
    """A tensor as one model sees it; `shape` with the batch dimension, where there is one."""

    where: str
    datatype: Datatype
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.datatype}{list(self.shape)} for {self.where}"


def wire(ensemble: EnsembleRecipe, signatures: Mapping[str, Signature]) -> Signature:
    """What a client of the ensemble sees, from what clients of its models see.

    A size that varies fits any other; where one model fixes it, it is fixed for the ensemble.
    Batches are as large as the smallest that a step takes; with a model that has no batch
    dimension among the steps, the ensemble has none, and shapes are written out in full.

    Raises:
        EnsembleRefused: names step, tensor, both types and the remedy for each problem.
    """
    problems = [*_unknown_names(ensemble, signatures)]
    if not problems:
        tensors, problems = _merge(_ends(ensemble, signatures))
    if problems:
        raise EnsembleRefused(f"ensemble {ensemble.name}: {'; '.join(problems)}")
    largest = min(signatures[model].max_batch_size for model in ensemble.models)

    def listed(names: tuple[str, ...]) -> tuple[TensorSpec, ...]:
        return tuple(
            TensorSpec(
                name=name,
                datatype=tensors[name].datatype,
                shape=tensors[name].shape[1 if largest else 0 :],
            )
            for name in names
        )

    return Signature(
        inputs=listed(ensemble.inputs), outputs=listed(ensemble.outputs), max_batch_size=largest
    )


def _unknown_names(ensemble: EnsembleRecipe, signatures: Mapping[str, Signature]) -> Iterator[str]:
    for step in ensemble.steps:
        signature, label = signatures[step.model], ensemble.label(step)
        for kind, wires, specs in (
            ("input", step.inputs, signature.inputs),
            ("output", step.outputs, signature.outputs),
        ):
            known = {spec.name for spec in specs}
            for name in wires:
                if name not in known:
                    yield f"{label}: the model has no {kind} {name!r}; {nearest(name, known)}"
        for spec in signature.inputs:
            if spec.name not in step.inputs:
                yield (
                    f"{label}: nothing goes into input {spec}; add {spec.name}: TENSOR to the "
                    "step's inputs"
                )


def _ends(
    ensemble: EnsembleRecipe, signatures: Mapping[str, Signature]
) -> Iterator[tuple[str, _End]]:
    """Every end of every wire with its tensor's name; who makes a tensor before who takes it."""
    for step in ensemble.run_order():
        signature = signatures[step.model]
        lead = (_VARIES,) if signature.max_batch_size else ()
        for kind, wires, specs in (
            ("input", step.inputs, signature.inputs),
            ("output", step.outputs, signature.outputs),
        ):
            for spec in specs:
                if spec.name in wires:
                    where = f"{kind} {spec.name} of {ensemble.label(step)}"
                    end = _End(where=where, datatype=spec.datatype, shape=lead + spec.shape)
                    yield wires[spec.name], end


def _merge(ends: Iterator[tuple[str, _End]]) -> tuple[dict[str, _End], list[str]]:
    """Each tensor as all its ends see it together, and the problems of those that do not fit."""
    tensors: dict[str, _End] = {}
    problems = []
    for name, end in ends:
        first = tensors.setdefault(name, end)
        if first.datatype is not end.datatype:
            remedy = "cast it in one of the two models, or put a model that casts between them"
        elif not _fit(first.shape, end.shape):
            remedy = "put a model that reshapes between them, or take another tensor"
        else:
            tensors[name] = _End(
                where=first.where,
                datatype=first.datatype,
                shape=tuple(map(max, first.shape, end.shape)),
            )
            continue
        problems.append(f"tensor {name!r} is {first}, but {end}; {remedy}")
    return tensors, problems


def _fit(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    return len(one) == len(other) and all(
        _VARIES in (size, wanted) or size == wanted for size, wanted in zip(one, other, strict=True)
    )
