"""Triton's datatypes. The only module that spells them.

numpy is imported by whoever has arrays: neither the command line nor a build without changes has.
"""

from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING

from contract.errors import UnsupportedDatatype

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Datatype(StrEnum):
    """Datatype of a tensor, as the KServe v2 protocol writes it."""

    BOOL = "BOOL"
    UINT8 = "UINT8"
    UINT16 = "UINT16"
    UINT32 = "UINT32"
    UINT64 = "UINT64"
    INT8 = "INT8"
    INT16 = "INT16"
    INT32 = "INT32"
    INT64 = "INT64"
    FP16 = "FP16"
    FP32 = "FP32"
    FP64 = "FP64"
    BYTES = "BYTES"

    @property
    def config_name(self) -> str:
        """Name in `config.pbtxt`, for example `TYPE_FP32`; `BYTES` is `TYPE_STRING` there."""
        return "TYPE_STRING" if self is Datatype.BYTES else f"TYPE_{self.value}"

    @property
    def numpy(self) -> "np.dtype[np.generic]":
        """The numpy dtype of decoded tensors; `BYTES` is `object`, each element `bytes`."""
        return _numpy()[self]

    @property
    def is_float(self) -> bool:
        return self in (Datatype.FP16, Datatype.FP32, Datatype.FP64)


@cache
def _numpy() -> "dict[Datatype, np.dtype[np.generic]]":
    import numpy as np  # noqa: PLC0415  (see the top)

    other = {Datatype.FP16: "float16", Datatype.FP32: "float32", Datatype.FP64: "float64"}
    other[Datatype.BYTES] = "object"
    return {each: np.dtype(other.get(each, each.value.lower())) for each in Datatype}


@cache
def _by_numpy() -> "dict[np.dtype[np.generic], Datatype]":
    return {kind: datatype for datatype, kind in _numpy().items()}


def datatype_of(array: "NDArray[np.generic]") -> Datatype:
    """The datatype that carries this array.

    Raises:
        UnsupportedDatatype: Triton has no datatype for the array's dtype.
    """
    if array.dtype.kind == "S":
        return Datatype.BYTES
    try:
        return _by_numpy()[array.dtype]
    except KeyError:
        known = ", ".join(Datatype)
        raise UnsupportedDatatype(
            f"no Triton datatype for numpy dtype {array.dtype}; cast it to one of {known}"
        ) from None
