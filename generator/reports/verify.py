"""A runtime's answers against PyTorch's."""

from pathlib import Path

from contract.dtypes import Datatype
from contract.manifest import OutputEvidence, Reference
from generator.reports.message import Message

# The verification grid with PyTorch's answers, in the format of golden samples.
CASES = "cases.npz"


class VerifyJob(Message):
    """`top_k` holds the `k` of outputs that are a classifier's; `graph_level` is `config.pbtxt`'s.

    The case that is farthest off goes to `failure`, if one is.
    """

    folder: Path
    tolerances: dict[str, float]
    top_k: dict[str, int]
    graph_level: int
    triton: str
    reference: Reference
    threads: int
    failure: Path


class GraphTensor(Message):
    """One input or output as ONNX Runtime sees it; -1 where a dimension is symbolic."""

    name: str
    datatype: Datatype
    shape: tuple[int, ...]


class Graph(Message):
    """`defaults` are the inputs that the graph has a value for: a request may leave them out."""

    inputs: tuple[GraphTensor, ...]
    outputs: tuple[GraphTensor, ...]
    defaults: tuple[GraphTensor, ...] = ()


class VerifyReport(Graph):
    """`evidence` is per output, over all `cases`."""

    cases: int
    evidence: dict[str, OutputEvidence]
