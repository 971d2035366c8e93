"""What each release of Triton can read. Pure; a new release is one more row.

ONNX Runtime: the pin in `build.py` of triton-inference-server/server at the release's branch.
Opset and IR: the newest that the wheel of that ONNX Runtime was seen to load.
TensorRT: onnxruntime_backend's branch for 24.10, Model Navigator's test image for 24.11,
`Dockerfile.win10` of the server for 24.12; from then on the pin of pytorch/TensorRT's branch
`release/ngc/<release>`, a lower bound. Fields: the history of `model_config.proto`.
"""

import re
from dataclasses import dataclass, replace

_NAME = re.compile(r"\d\d\.(0[1-9]|1[0-2])")

FIELDS = {
    "runtime": "24.01",
    "is_non_linear_format_io": "24.08",
    "model_metrics": "24.11",
    "max_inflight_requests": "25.11",
}
"""Fields of `config.pbtxt` that were added lately, and the first release that knows them. An older
one does not load a model whose config has them."""

# The newest (opset, IR) that an ONNX Runtime reads, by its minor version.
_LIMITS = {
    "1.19": (21, 10),
    "1.20": (21, 10),
    "1.21": (22, 10),
    "1.22": (22, 10),
    "1.23": (23, 11),
    "1.24": (25, 13),
    "1.27": (26, 13),
    "1.28": (26, 13),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """One release of Triton.

    `tensorrt` is the release's own where `tensorrt_is_exact`, and the oldest it can have elsewhere.
    `stands_for` is the newest release of the table for one that is newer still, whose facts these
    then are.
    """

    name: str
    onnxruntime: str
    max_opset: int
    max_ir: int
    tensorrt: str
    tensorrt_is_exact: bool
    stands_for: str | None = None

    @property
    def unknown_fields(self) -> frozenset[str]:
        """Fields of `config.pbtxt` that came later."""
        return frozenset(field for field, first in FIELDS.items() if first > self.name)

    @property
    def warning(self) -> str | None:
        """What a build for this release cannot know."""
        if self.stands_for is None:
            return None
        return (
            f"{self.name} is newer than the newest release known here ({self.stands_for}); "
            f"what {self.stands_for} can read is taken for it"
        )

    def reads(self, *, opset: int, ir: int) -> bool:
        """Whether it loads an ONNX file of this opset and IR."""
        return opset <= self.max_opset and ir <= self.max_ir

    def why_not(self, *, opset: int, ir: int) -> str:
        """What an ONNX file that it does not read is refused with."""
        first = next((row for row in RELEASES if row.reads(opset=opset, ir=ir)), None)
        remedy = f"build for Triton {first.name} or newer" if first else "none known here does"
        return (
            f"opset {opset} and IR {ir} are beyond Triton {self.name}, whose ONNX Runtime "
            f"{self.onnxruntime} reads opset {self.max_opset} and IR {self.max_ir}; {remedy}, or "
            "export it anew within these"
        )


def _row(name: str, onnxruntime: str, tensorrt: str) -> Release:
    minor, _, _ = onnxruntime.rpartition(".")
    max_opset, max_ir = _LIMITS[minor]
    return Release(
        name=name,
        onnxruntime=onnxruntime,
        max_opset=max_opset,
        max_ir=max_ir,
        tensorrt=tensorrt.removeprefix(">="),
        tensorrt_is_exact=not tensorrt.startswith(">="),
    )


RELEASES = (
    _row("24.10", "1.19.2", "10.5"),
    _row("24.11", "1.19.2", "10.6"),
    _row("24.12", "1.20.1", "10.7"),
    _row("25.01", "1.20.1", ">=10.7"),
    _row("25.02", "1.20.1", ">=10.7"),
    _row("25.03", "1.21.0", ">=10.9"),
    _row("25.04", "1.21.0", ">=10.9"),
    _row("25.05", "1.22.0", ">=10.9"),
    _row("25.06", "1.22.0", ">=10.9"),
    _row("25.07", "1.22.0", ">=10.9"),
    _row("25.08", "1.23.0", ">=10.11"),
    _row("25.09", "1.23.0", ">=10.12"),
    _row("25.10", "1.23.1", ">=10.12"),
    _row("25.11", "1.23.2", ">=10.13.3"),
    _row("25.12", "1.23.2", ">=10.13.3"),
    _row("26.01", "1.23.2", ">=10.14.1"),
    _row("26.02", "1.24.1", ">=10.14.1"),
    _row("26.03", "1.24.2", ">=10.14.1"),
    _row("26.04", "1.24.4", ">=10.15.1"),
    _row("26.05", "1.24.4", ">=10.16"),
    _row("26.06", "1.24.4", ">=11.0"),
    _row("26.07", "1.27.0", ">=11.0"),
    _row("26.08", "1.28.0", ">=11.0"),
)
"""Oldest first. 24.10 is the first whose ONNX Runtime loads what the exporter writes."""

OLDEST, NEWEST = RELEASES[0].name, RELEASES[-1].name

_BY_NAME = {row.name: row for row in RELEASES}


def release(name: str) -> Release:
    """The release of this name, such as "25.08".

    Raises:
        ValueError: no release is called so, or it is older than `OLDEST`.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f'{name} is no release; write it in quotes, like "{OLDEST}"')
    if name < OLDEST:
        raise ValueError(f"release {name} is older than {OLDEST}, the oldest supported")
    # Two digits each: names sort as releases do.
    if name > NEWEST:
        return replace(_BY_NAME[NEWEST], name=name, stands_for=NEWEST)
    return _BY_NAME[name]
