"""What a module returns, as the tensors that the recipe names."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import torch

from contract.dtypes import Datatype
from contract.strict import nearest
from generator.errors import StageRefused
from generator.recipe import ModelRecipe

_CARRIED = {getattr(torch, each.numpy.name) for each in Datatype if each is not Datatype.BYTES}


def named_outputs(model: ModelRecipe, answer: Any) -> tuple[torch.Tensor, ...]:
    """The recipe's outputs, in its order.

    By name, of a mapping, a named tuple or a dataclass; what the recipe does not name is dropped.
    By position, of a sequence of tensors or of one tensor.

    Raises:
        StageRefused: other tensors than the recipe names, or one that no client can receive.
    """
    names = model.output_names
    fields = _fields(answer)
    if fields is not None:
        for name in names:
            if fields.get(name) is None:
                known = [key for key in fields if torch.is_tensor(fields[key])]
                raise StageRefused(f"the model returns no output {name!r}; {nearest(name, known)}")
        outputs = tuple(fields[name] for name in names)
    else:
        outputs = tuple(answer) if isinstance(answer, tuple | list) else (answer,)
    if len(outputs) != len(names) or not all(map(torch.is_tensor, outputs)):
        raise StageRefused(
            f"the model returns {[type(item).__name__ for item in outputs]}, the recipe names "
            f"{len(names)} outputs ({', '.join(names)}); return as many tensors, none of them "
            "inside of another tuple"
        )
    for name, tensor in zip(names, outputs, strict=True):
        if tensor.layout is not torch.strided:
            raise StageRefused(
                f"output {name} is sparse ({tensor.layout}), and ONNX knows dense tensors only; "
                "return x.to_dense()"
            )
        if tensor.dtype not in _CARRIED:
            raise StageRefused(
                f"output {name} is {tensor.dtype}, which Triton's clients cannot receive; return "
                f"{_REMEDIES.get(tensor.dtype, 'x.float()')}; what they can receive is "
                f"{_told(_CARRIED)}"
            )
    return outputs


def _told(dtypes: Iterable[torch.dtype]) -> str:
    return ", ".join(sorted(str(dtype).removeprefix("torch.") for dtype in dtypes))


def _fields(answer: Any) -> Mapping[str, Any] | None:
    """What is returned under names; None where only the order tells."""
    if isinstance(answer, Mapping):
        return answer
    if isinstance(answer, tuple) and hasattr(answer, "_asdict"):
        return answer._asdict()  # type: ignore[no-any-return]
    if dataclasses.is_dataclass(answer):
        return {field.name: getattr(answer, field.name) for field in dataclasses.fields(answer)}
    return None


_REMEDIES = {
    torch.bfloat16: "x.float(), and compute it outside of torch.autocast",
    torch.complex64: "torch.view_as_real(x)",
    torch.complex128: "torch.view_as_real(x)",
}
