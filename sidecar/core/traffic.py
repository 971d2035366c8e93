"""What the gateway has counted of clients' requests for inference."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple


class Answered(NamedTuple):
    """A kind of answer.

    `version` is None where the request named none. `code` is that of HTTP, or `grpc:` and that
    of gRPC. `warmth` is hit, cold or joined.
    """

    version: int | None
    code: str
    warmth: str


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
