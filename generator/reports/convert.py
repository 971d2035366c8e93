"""An ONNX model becomes a TensorRT plan."""

from pathlib import Path

from contract.manifest import OutputEvidence
from generator.accelerators import Profile
from generator.recipe.formats import TensorRT
from generator.reports.message import Message


class BuilderJob(Message):
    """Nothing to say: which TensorRT and which GPU are here?"""


class BuilderReport(Message):
    """What a plan is bound to, unless it was asked to be compatible."""

    tensorrt: str
    gpu: str
    compute_capability: str


class ConvertJob(Message):
    """`folder` holds the ONNX files and CASES, and receives the plan in place of the ONNX files.

    `cache` keeps plans and kernel timings over builds.
    """

    folder: Path
    cache: Path
    format: TensorRT
    profiles: tuple[Profile, ...]
    tolerances: dict[str, float]
    top_k: dict[str, int]


class ConvertReport(Message):
    """`evidence` is per output: how the plan answers the cases on the GPU here.

    `tools` are what it was built by and for.
    """

    tools: dict[str, str]
    evidence: dict[str, OutputEvidence]
