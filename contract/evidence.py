"""What the answers to golden samples are worth, output by output."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from contract.compare import Difference, compare, farthest, same_top
from contract.manifest import OutputEvidence
from contract.samples import Tensors


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One output of one answer, or the worst of many.

    `reason` is None where it is as expected; else it names the element that is farthest off.
    """

    output: str
    evidence: OutputEvidence
    reason: str | None


def examine(
    got: Tensors,
    expected: Tensors,
    *,
    limits: Mapping[str, float],
    top_k: Mapping[str, int],
) -> list[Finding]:
    """Every expected output. `limits` are scaled errors, `top_k` is of a classifier's outputs."""
    return [
        _finding(difference, got, expected, top_k.get(difference.output))
        for difference in compare(got, expected, limits)
    ]


def worst(findings: Iterable[Finding]) -> dict[str, Finding]:
    """By output the largest error, with its reason, and the smallest agreement."""
    found: dict[str, Finding] = {}
    for finding in findings:
        known = found.get(finding.output)
        found[finding.output] = finding if known is None else _worse(known, finding)
    return found


def _finding(difference: Difference, got: Tensors, expected: Tensors, k: int | None) -> Finding:
    name, reason = difference.output, difference.reason
    answer, wanted = got.get(name), expected[name]
    share = None
    if answer is not None and (answer.shape, answer.dtype) == (wanted.shape, wanted.dtype):
        if k is not None:
            share = same_top(answer, wanted, k, limit=difference.limit)
        if reason:
            reason = f"{reason}: {farthest(answer, wanted)}"
        elif share is not None and share < 1:
            reason = f"output {name}: its top {k} are others in {1 - share:.1%} of the rows"
    evidence = OutputEvidence(
        scaled_error=difference.scaled_error, limit=difference.limit, top_k=k, same_top=share
    )
    return Finding(output=name, evidence=evidence, reason=reason)


def _worse(one: Finding, other: Finding) -> Finding:
    large, small = sorted((one, other), key=lambda each: each.evidence.scaled_error, reverse=True)
    shares = [each.evidence.same_top for each in (one, other)]
    evidence = OutputEvidence(
        scaled_error=large.evidence.scaled_error,
        limit=large.evidence.limit,
        top_k=large.evidence.top_k,
        same_top=min((share for share in shares if share is not None), default=None),
    )
    return Finding(output=one.output, evidence=evidence, reason=large.reason or small.reason)
