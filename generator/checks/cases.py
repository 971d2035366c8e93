"""Golden samples asked in ONNX Runtime, and how far its answers are off."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnxruntime

from contract.evidence import Finding, examine, worst
from contract.manifest import OutputEvidence
from contract.samples import GoldenSample
from generator.checks.sessions import run


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrong:
    """A case with an answer that is refused; `excess` is how far it is beyond its limit."""

    case: GoldenSample
    reasons: tuple[str, ...]
    excess: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """`evidence` is per output, over all cases. `wrong` has the case that is farthest off first."""

    cases: int
    evidence: dict[str, OutputEvidence]
    wrong: tuple[Wrong, ...]

    def refusal(self, expected: str) -> str:
        """What is wrong, with the worst of it; `expected` says whose answers were expected."""
        farthest = self.wrong[0]
        return (
            f"the ONNX model answers otherwise than {expected} in {len(self.wrong)} of "
            f"{self.cases} cases, farthest at {shapes(farthest.case)}: "
            f"{'; '.join(farthest.reasons)}"
        )


def ask(
    session: onnxruntime.InferenceSession,
    cases: Sequence[GoldenSample],
    *,
    limits: Mapping[str, float],
    top_k: Mapping[str, int],
) -> Outcome:
    """Run every case. `limits` and `top_k` are as in `contract.evidence.examine`.

    Raises:
        StageRefused: ONNX Runtime fails.
    """
    found: list[Finding] = []
    wrong = []
    for case in cases:
        got = run(session, case.inputs, shapes(case))
        findings = examine(got, case.outputs, limits=limits, top_k=top_k)
        found += findings
        if any(each.reason for each in findings):
            wrong.append(_wrong(case, findings))
    wrong.sort(key=lambda each: each.excess, reverse=True)
    return Outcome(
        cases=len(cases),
        evidence={name: each.evidence for name, each in worst(found).items()},
        wrong=tuple(wrong),
    )


def shapes(case: GoldenSample) -> str:
    return ", ".join(f"{name} {list(array.shape)}" for name, array in case.inputs.items())


def _wrong(case: GoldenSample, findings: Sequence[Finding]) -> Wrong:
    return Wrong(
        case=case,
        reasons=tuple(each.reason for each in findings if each.reason),
        excess=max(each.evidence.scaled_error - each.evidence.limit for each in findings),
    )
