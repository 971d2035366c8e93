"""Inputs and outputs of a model, and where values for them come from."""

import re
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import AfterValidator, BeforeValidator, ConfigDict, PositiveInt, model_validator

from contract.dtypes import Datatype
from contract.strict import Strict
from generator.recipe.source import FilePath

_TENSOR_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_DIM_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

Control = Literal["start", "end", "ready", "corrid"]
# What Triton's sequence batcher writes into each control tensor (`ModelSequenceBatching`).
_FLAGS = (Datatype.BOOL, Datatype.INT32, Datatype.FP32)
_IDS = (Datatype.INT64, Datatype.INT32, Datatype.UINT64, Datatype.UINT32)
_CONTROL_DTYPES = {"start": _FLAGS, "end": _FLAGS, "ready": _FLAGS, "corrid": _IDS}
_SOME_CORRIDS = (1, 1000)

T = TypeVar("T")


def _tensor_name(name: str) -> str:
    if not _TENSOR_NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no tensor name: letters, digits, '_', '.' and '-' only")
    return name


def _size(size: int | str) -> int | str:
    if isinstance(size, str) and not _DIM_NAME.fullmatch(size):
        raise ValueError(f"{size!r} is no name of a dimension: letters, digits and '_' only")
    return size


def _carried(dtype: object) -> object:
    if dtype == "BF16":
        raise ValueError(
            "Triton's ONNX Runtime backend takes no BF16, and numpy has no bfloat16 for golden "
            "samples; write FP32: a model that has bfloat16 is built in float32"
        )
    return dtype


def not_empty(items: tuple[T, ...]) -> tuple[T, ...]:
    # Not `min_length`, which also complains when the only item has a fault of its own.
    if not items:
        raise ValueError("needs at least one entry")
    return items


def _has_sizes(shape: tuple[int | str, ...]) -> tuple[int | str, ...]:
    if not shape:
        raise ValueError("Triton has no inputs without a dimension; write [1]")
    return shape


TensorName = Annotated[str, BeforeValidator(_tensor_name)]
Size = Annotated[PositiveInt | str, AfterValidator(_size)]


class Dim(Strict):
    """Range of a dynamic dimension."""

    min: PositiveInt
    """The smallest size that clients may send."""
    opt: PositiveInt
    """The size to expect most."""
    max: PositiveInt
    """The largest."""
    multiple_of: PositiveInt = 1
    """Every size is a multiple of it."""

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if not self.min <= self.opt <= self.max or self.min == self.max:
            raise ValueError(
                f"min {self.min}, opt {self.opt}, max {self.max}: wanted min <= opt <= max and "
                "min < max; write a fixed size as a number into the shape"
            )
        for size in (self.min, self.opt, self.max):
            if size % self.multiple_of:
                raise ValueError(f"{size} is no multiple of {self.multiple_of} (multiple_of)")
        return self


class Input(Strict):
    """One input, and where its values for verification and warm-up come from.

    Values are those of `samples`; without them floats are standard normal, integers uniform
    in `range`, texts one of `values`.
    """

    # A control input may be no more than its name and `control`.
    model_config = ConfigDict(json_schema_extra={"required": ["name"]})

    name: TensorName
    """As clients send it."""
    dtype: Annotated[Datatype, BeforeValidator(_carried, json_schema_input_type=Datatype)]
    """Such as FP32 or INT64. A control input may leave it out: BOOL, or INT64 for `corrid`."""
    shape: Annotated[tuple[Size, ...], AfterValidator(_has_sizes)]
    """Without the batch dimension; names in it are dynamic dimensions, see `dims`. A control
    input has [1]."""
    range: tuple[int, int] | tuple[float, float] | None = None
    """[low, high) of the values. An ONNX model may leave it out where the input's values are
    rows of a table."""
    values: tuple[str, ...] = ()
    """Of BYTES: some texts that the model understands."""
    fill: Literal["mask"] | None = None
    """`mask`: ones up to a drawn length, then zeros, along the last dimension; all ones in
    warm-up."""
    optional: bool = False
    """Clients may leave it out; only without a batch dimension."""
    default: bool | int | float | None = None
    """What an optional input is filled with, its dynamic dimensions being 1. An ONNX model
    brings its own."""
    control: Control | None = None
    """Written by Triton's sequence batcher and not by clients: first or last request of a
    sequence, slot in use, id of the sequence."""

    @model_validator(mode="before")
    @classmethod
    def _fill_in_a_control(cls, data: Any) -> Any:
        if not isinstance(data, dict) or not data.get("control"):
            return data
        is_id = data["control"] == "corrid"
        dtype = Datatype.INT64 if is_id else Datatype.BOOL
        return {"dtype": dtype, "shape": [1], "range": _SOME_CORRIDS if is_id else None} | data

    @model_validator(mode="after")
    def _is_a_control_that_triton_writes(self) -> Self:
        if self.control is None:
            return self
        known = _CONTROL_DTYPES[self.control]
        if self.dtype not in known or self.shape != (1,):
            raise ValueError(
                f"Triton writes {self.control} as one of {', '.join(known)}, shape [1], and not as "
                f"{self.dtype}{list(self.shape)}"
            )
        if self.optional:
            raise ValueError("no client sends a control input; take optional out")
        return self

    @model_validator(mode="after")
    def _says_where_values_come_from(self) -> Self:
        if self.range and not self._can_be_drawn_from_range:
            raise ValueError(
                f"range {list(self.range)} must be [low, high) with low < high, "
                "on a number without fill; of integers for an integer input"
            )
        if self.fill and self.dtype is Datatype.BYTES:
            raise ValueError("texts are no mask; take fill out")
        if self.values and self.dtype is not Datatype.BYTES:
            raise ValueError(
                f"values are texts of a BYTES input, and this one is {self.dtype}; write range: "
                "[low, high)"
            )
        if self.default is not None and not self.optional:
            raise ValueError("default is for an optional input; write optional: true beside it")
        return self

    @property
    def _can_be_drawn_from_range(self) -> bool:
        if self.range is None or self.fill or self.dtype in (Datatype.BOOL, Datatype.BYTES):
            return False
        whole = all(isinstance(bound, int) for bound in self.range)
        return self.range[0] < self.range[1] and (self.dtype.is_float or whole)

    @property
    def lacks_values(self) -> bool:
        """Whether nothing here says what to draw: ids at random point outside of a table."""
        if self.dtype is Datatype.BYTES:
            return not self.values
        drawn = self.dtype.is_float or self.dtype is Datatype.BOOL or self.control or self.fill
        return not drawn and not self.range

    @property
    def dynamic_dims(self) -> list[str]:
        return [size for size in self.shape if isinstance(size, str)]


class Output(Strict):
    """One output."""

    name: TensorName
    """As clients ask for it."""
    labels: FilePath | None = None
    """Text file, one class per line, as many as the output's last dimension has: clients may
    then ask for classes instead of numbers."""
    top_k: PositiveInt | None = None
    """Of a classifier: the classes of the `top_k` largest values must be those that PyTorch
    gives."""


def _output(said: object) -> object:
    return {"name": said} if isinstance(said, str) else said


NamedOutput = Annotated[Output, BeforeValidator(_output, json_schema_input_type=str | Output)]
