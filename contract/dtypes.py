"""Triton's datatypes. The only module that spells them."""

from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from contract.errors import UnsupportedDatatype


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
    def numpy(self) -> np.dtype[np.generic]:
        """The numpy dtype of decoded tensors; `BYTES` is `object`, each element `bytes`."""
        return np.dtype(_NUMPY[self])

    @property
    def is_float(self) -> bool:
        return self in (Datatype.FP16, Datatype.FP32, Datatype.FP64)


_NUMPY: dict[Datatype, type] = {
    Datatype.BOOL: np.bool_,
    Datatype.UINT8: np.uint8,
    Datatype.UINT16: np.uint16,
    Datatype.UINT32: np.uint32,
    Datatype.UINT64: np.uint64,
    Datatype.INT8: np.int8,
    Datatype.INT16: np.int16,
    Datatype.INT32: np.int32,
    Datatype.INT64: np.int64,
    Datatype.FP16: np.float16,
    Datatype.FP32: np.float32,
    Datatype.FP64: np.float64,
    Datatype.BYTES: np.object_,
}
_BY_KIND: dict[np.dtype[np.generic], Datatype] = {
    np.dtype(kind): datatype for datatype, kind in _NUMPY.items()
}


def datatype_of(array: NDArray[np.generic]) -> Datatype:
    """The datatype that carries this array.

    Raises:
        UnsupportedDatatype: Triton has no datatype for the array's dtype.
    """
    if array.dtype.kind == "S":
        return Datatype.BYTES
    try:
        return _BY_KIND[array.dtype]
    except KeyError:
        known = ", ".join(_NUMPY)
        raise UnsupportedDatatype(
            f"no Triton datatype for numpy dtype {array.dtype}; cast it to one of {known}"
        ) from None
