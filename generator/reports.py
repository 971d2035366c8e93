"""What the stages of a build tell each other: JSON between processes."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from contract.dtypes import Datatype
from contract.manifest import ShapeCost
from generator.recipe import ModelRecipe


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ExportJob(_Message):
    """`folder` receives model.onnx, model.onnx.data and CASES."""

    model: ModelRecipe
    recipe_folder: Path
    folder: Path
    threads: int


class ExportReport(_Message):
    """`sources`: the model's own source files, relative to the recipe's folder, with hashes."""

    sources: dict[str, str]
    tolerances: dict[str, float]


class VerifyJob(_Message):
    folder: Path
    tolerances: dict[str, float]
    threads: int


class GraphTensor(_Message):
    """One input or output as ONNX Runtime sees it; -1 where a dimension is symbolic."""

    name: str
    datatype: Datatype
    shape: tuple[int, ...]


class VerifyReport(_Message):
    inputs: tuple[GraphTensor, ...]
    outputs: tuple[GraphTensor, ...]


class WarmupInput(_Message):
    """`file` lies in the version's warm-up folder and holds one element of size `dims`."""

    name: str
    datatype: Datatype
    dims: tuple[int, ...]
    file: str


class WarmupSample(_Message):
    name: str
    batch: int
    dims: dict[str, int]
    inputs: tuple[WarmupInput, ...]


class ProbeJob(_Message):
    folder: Path
    samples: tuple[WarmupSample, ...]
    has_batch_dimension: bool


class ProbeReport(_Message):
    """As in `contract.manifest.Cost`, less the size on disk."""

    private_bytes: int
    shared_bytes: int
    peak_bytes: int
    load_s: float
    shapes: tuple[ShapeCost, ...]


# The verification grid with PyTorch's answers, in the format of golden samples.
CASES = "cases.npz"
