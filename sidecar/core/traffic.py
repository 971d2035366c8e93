"""What the gateway has counted of clients' requests for inference."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

_FAILED = frozenset({"grpc:2", "grpc:13", "grpc:14", "grpc:15"})
"""UNKNOWN, INTERNAL, UNAVAILABLE and DATA_LOSS."""


class Answered(NamedTuple):
    """A kind of answer.

    `version` is None where the request named none. `code` is that of HTTP, or `grpc:` and that
    of gRPC. `outcome` is how the model was found: hit, cold, joined, or refused where no
    server was asked.
    """

    version: int | None
    code: str
    outcome: str

    @property
    def is_failure(self) -> bool:
        """Whether a server failed. What clients ask wrongly is not its fault."""
        return self.outcome != "refused" and (self.code.startswith("5") or self.code in _FAILED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Of one model, since the gateway was started.

    The percentiles are of the time from a request's first byte to its answer's last, over the
    last some seconds, and None without requests. `open_streams` are gRPC streams.
    """

    answers: Mapping[Answered, int] = field(default_factory=dict)
    p50_ms: float | None = None
    p99_ms: float | None = None
    open_streams: int = 0

    @property
    def requests(self) -> int:
        return sum(self.answers.values())

    @property
    def failures(self) -> Counter[int | None]:
        """Requests that a server failed, by version; None where they named none."""
        found: Counter[int | None] = Counter()
        for kind, count in self.answers.items():
            found[kind.version] += count * kind.is_failure
        return found
