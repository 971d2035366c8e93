"""What the releases of Triton can read."""

from generated.markdown import code, table
from generator.releases import FIELDS, RELEASES, Release

_HEAD = ("Triton", "ONNX Runtime", "Opset up to", "IR up to", "TensorRT")


def releases() -> str:
    return table(_HEAD, map(_row, RELEASES))


def config_fields() -> str:
    rows = [(code(field), first) for field, first in FIELDS.items()]
    return table(("Field of `config.pbtxt`", "Since"), rows)


def _row(release: Release) -> tuple[str, ...]:
    tensorrt = release.tensorrt if release.tensorrt_is_exact else f"{release.tensorrt} or newer"
    limits = (str(release.max_opset), str(release.max_ir))
    return (release.name, release.onnxruntime, *limits, tensorrt)
