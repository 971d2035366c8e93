"""In which form a model is served."""

from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import BeforeValidator, Field, PositiveInt

from contract.strict import Strict, Written, nearest

Kind = Literal["onnx", "onnx-fp16", "onnx-tensorrt", "tensorrt"]
Precision = Literal["fp32", "fp16"]
ServerFolder = Annotated[
    str, Written(r"^/[\w./-]*$", "an absolute path of letters, digits and _.-, such as /var/cache")
]
Hardware = Literal["none", "same-compute-capability", "ampere-plus"]


class Onnx(Strict):
    """ONNX Runtime, in the precision in which the model was written."""

    kind: Literal["onnx"]

    is_half: ClassVar[bool] = False


class OnnxFp16(Strict):
    """ONNX Runtime, computing in half precision; inputs and outputs keep their dtypes.

    Half the bytes on disk. Made for GPUs: a CPU computes in float32 as before, and makes itself
    the copies for it in memory.
    """

    kind: Literal["onnx-fp16"]

    is_half: ClassVar[bool] = True


class _OnTensorRT(Strict):
    """What both ways to TensorRT have in common.

    Precision is the graph's: TensorRT 11 has no flag for it, and TensorRT 10 obeys the graph too.
    """

    precision: Precision = "fp32"
    """`fp16`: the model is exported in half precision; inputs and outputs keep their dtypes."""
    workspace_bytes: PositiveInt | None = None
    """GPU memory that one layer may use for the time it computes; without it, TensorRT may take
    all. Give it where models share a GPU."""
    optimization_level: Annotated[int, Field(ge=0, le=5)] = 3
    """How long TensorRT searches for fast kernels, 0 to 5; 3 is its own default."""

    @property
    def is_half(self) -> bool:
        return self.precision == "fp16"


class OnnxTensorRT(_OnTensorRT):
    """ONNX Runtime, which has TensorRT build engines on the server and keeps them in a cache.

    The build needs no GPU, but the first load on one can take minutes.
    """

    kind: Literal["onnx-tensorrt"]
    cache_dir: ServerFolder = "/tmp"  # noqa: S108
    """Folder on the server that is there and may be written; each model gets folders of its own in
    it. A persistent one saves the engine builds after a restart."""


class TensorRT(_OnTensorRT):
    """A TensorRT plan, built beforehand on a GPU like the one that will serve."""

    kind: Literal["tensorrt"]
    version_compatible: bool = False
    """The plan also runs on later TensorRT releases; Triton has to be started with
    `--backend-config=tensorrt,version-compatible=true`."""
    hardware: Hardware = "none"
    """On which GPUs the plan runs: those like the builder's, those of its compute capability, or
    all from Ampere on (slower)."""


def _by_kind(said: Any) -> Any:
    """The short form written out, and a wrong kind refused before the keys are looked at."""
    fields = {"kind": said} if isinstance(said, str) else said
    kind = fields.get("kind") if isinstance(fields, dict) else None
    if isinstance(kind, str) and kind not in get_args(Kind):
        raise ValueError(f"{kind!r} is no format; {nearest(kind, get_args(Kind))}")
    return fields


Format = Annotated[
    Onnx | OnnxFp16 | OnnxTensorRT | TensorRT,
    Field(discriminator="kind"),
    # Those without options are words.
    BeforeValidator(_by_kind, json_schema_input_type=Kind | OnnxTensorRT | TensorRT),
]

AS_WRITTEN = Onnx(kind="onnx")
