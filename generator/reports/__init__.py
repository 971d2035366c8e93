"""What the stages of a build tell each other: JSON between processes.

`export` and `convert` are not here: they know recipes, which a probe would import in vain.
"""

from generator.reports.graph import GraphFacts
from generator.reports.probe import (
    ColdLoadJob,
    ColdLoadReport,
    ProbeJob,
    ProbeReport,
    WarmupInput,
    WarmupSample,
)
from generator.reports.proof import ProofJob, ProofReport
from generator.reports.verify import CASES, Graph, GraphTensor, VerifyJob, VerifyReport

__all__ = [
    "CASES",
    "ColdLoadJob",
    "ColdLoadReport",
    "Graph",
    "GraphFacts",
    "GraphTensor",
    "ProbeJob",
    "ProbeReport",
    "ProofJob",
    "ProofReport",
    "VerifyJob",
    "VerifyReport",
    "WarmupInput",
    "WarmupSample",
]
