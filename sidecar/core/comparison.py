"""What serving's and canary's answers to the same requests have in common."""

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from contract.compare import compare
from contract.samples import Tensors
from sidecar.core.fleet import Server

KEPT_LATENCIES = 100


class Missed(StrEnum):
    """Why a request that was sampled has not been compared."""

    TOO_LARGE = "too_large"
    TOO_MANY = "too_many"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one server made of a request; with a `failure` there are no outputs."""

    latency_ms: float
    outputs: Tensors = field(default_factory=dict)
    failure: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """How canary's answer to one request differs from serving's in one output.

    `scaled_error` and `reason` are those of `contract.compare`. `rows` are the vectors along the
    last dimension where that is longer than 1 and the output a float; `same_top` those whose
    largest element is at the same place.
    """

    output: str
    scaled_error: float
    reason: str | None
    rows: int
    same_top: int


def findings(answers: Mapping[Server, Answer], limits: Mapping[str, float]) -> tuple[Finding, ...]:
    """One for each output of serving's; none when a server has failed.

    `limits` are scaled errors per output, as in a manifest.
    """
    if any(answer.failure is not None for answer in answers.values()):
        return ()
    serving, canary = answers[Server.SERVING].outputs, answers[Server.CANARY].outputs
    found = []
    for difference in compare(canary, serving, limits):
        rows, same_top = _tops(serving[difference.output], canary.get(difference.output))
        found.append(
            Finding(
                output=difference.output,
                scaled_error=difference.scaled_error,
                reason=difference.reason,
                rows=rows,
                same_top=same_top,
            )
        )
    return tuple(found)


def _tops(expected: NDArray[np.generic], got: NDArray[np.generic] | None) -> tuple[int, int]:
    if expected.dtype.kind != "f" or expected.ndim == 0 or expected.shape[-1] <= 1:
        return 0, 0
    rows = expected.size // expected.shape[-1]
    if got is None or got.shape != expected.shape:
        return rows, 0
    return rows, int(np.sum(expected.argmax(axis=-1) == got.argmax(axis=-1)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One server's part. `failure` is what it said when it failed last.

    `latest_ms` are the latencies of its last `KEPT_LATENCIES` answers.
    """

    version: int
    answers: int = 0
    failures: int = 0
    failure: str | None = None
    latest_ms: tuple[float, ...] = ()

    @property
    def median_ms(self) -> float | None:
        """Of the latest answers; None before the first."""
        return statistics.median(self.latest_ms) if self.latest_ms else None

    def with_(self, answer: Answer) -> "Side":
        if answer.failure is not None:
            return replace(self, failures=self.failures + 1, failure=answer.failure)
        latest_ms = (*self.latest_ms, answer.latency_ms)[-KEPT_LATENCIES:]
        return replace(self, answers=self.answers + 1, latest_ms=latest_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Of one output, over all requests that both servers answered.

    `agreeing` are the requests within the manifest's tolerance. `largest_error` is scaled, and
    infinite where more than numbers differs; `reason` is of the last request that did not agree.
    """

    requests: int = 0
    agreeing: int = 0
    largest_error: float = 0.0
    reason: str | None = None
    rows: int = 0
    same_top: int = 0

    def with_(self, found: Finding) -> "Agreement":
        return Agreement(
            requests=self.requests + 1,
            agreeing=self.agreeing + (found.reason is None),
            largest_error=max(self.largest_error, found.scaled_error),
            reason=found.reason or self.reason,
            rows=self.rows + found.rows,
            same_top=self.same_top + found.same_top,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Of one version on each server, over the requests that both were asked.

    `compared` are those that both answered, `agreeing` those with every output within the
    manifest's tolerance. `unreadable` is why the last request that could not be read was not.
    """

    sides: Mapping[Server, Side]
    compared: int = 0
    agreeing: int = 0
    outputs: Mapping[str, Agreement] = field(default_factory=dict)
    missed: Mapping[Missed, int] = field(default_factory=dict)
    unreadable: str | None = None

    @classmethod
    def between(cls, versions: Mapping[Server, int]) -> "Comparison":
        return cls(sides={server: Side(version=version) for server, version in versions.items()})

    @property
    def versions(self) -> Mapping[Server, int]:
        return {server: side.version for server, side in self.sides.items()}

    def with_(self, answers: Mapping[Server, Answer], found: tuple[Finding, ...]) -> "Comparison":
        """With one more request. `found` are the `findings` of its answers."""
        both = all(answer.failure is None for answer in answers.values())
        agree = both and all(finding.reason is None for finding in found)
        outputs = {
            finding.output: self.outputs.get(finding.output, Agreement()).with_(finding)
            for finding in found
        }
        return replace(
            self,
            sides={server: side.with_(answers[server]) for server, side in self.sides.items()},
            compared=self.compared + both,
            agreeing=self.agreeing + agree,
            outputs={**self.outputs, **outputs},
        )

    def without(self, missed: Missed, unreadable: str | None = None) -> "Comparison":
        """With one more request that could not be compared."""
        return replace(
            self,
            missed={**self.missed, missed: self.missed.get(missed, 0) + 1},
            unreadable=unreadable or self.unreadable,
        )
