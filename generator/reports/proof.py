"""A version's golden samples in another ONNX Runtime."""

from pathlib import Path

from contract.manifest import Proof
from generator.reports.message import Message


class ProofJob(Message):
    """`folder` is a version, complete but for its manifest; `onnxruntime` the version wanted."""

    folder: Path
    tolerances: dict[str, float]
    top_k: dict[str, int]
    onnxruntime: str


class ProofReport(Message):
    proof: Proof
