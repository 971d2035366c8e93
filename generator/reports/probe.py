"""What a version costs."""

from pathlib import Path

from contract.dtypes import Datatype
from contract.manifest import ShapeCost
from generator.reports.message import Message


class WarmupInput(Message):
    """`file` lies in the version's warm-up folder and holds one element of size `dims`."""

    name: str
    datatype: Datatype
    dims: tuple[int, ...]
    file: str


class WarmupSample(Message):
    name: str
    batch: int
    dims: dict[str, int]
    inputs: tuple[WarmupInput, ...]


class ProbeJob(Message):
    """`graph_level` is that of `config.pbtxt`."""

    folder: Path
    samples: tuple[WarmupSample, ...]
    has_batch_dimension: bool
    graph_level: int = 0


class ProbeReport(Message):
    """As in `contract.manifest.Cost`, less the size on disk and the cold load."""

    private_bytes: int
    further_private_bytes: int
    shared_bytes: int
    peak_bytes: int
    load_s: float
    shapes: tuple[ShapeCost, ...]


class ColdLoadJob(Message):
    folder: Path
    graph_level: int = 0


class ColdLoadReport(Message):
    """`load_s` is None where the files stayed in the page cache, whatever was asked."""

    load_s: float | None
