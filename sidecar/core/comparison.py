"""What serving's and canary's answers to the same requests have in common."""

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from sidecar.core.agreement import Agreement, Answer, Finding
from sidecar.core.fleet import Server

KEPT_LATENCIES = 100


class Missed(StrEnum):
    """Why a request that was sampled has not been compared."""

    TOO_LARGE = "too_large"
    TOO_MANY = "too_many"
    UNREADABLE = "unreadable"


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
