"""What a new version and the one that serves have answered to the same requests, so far.

Counts are of everything since the trial began, because the judge's tests need all of it; what is
kept for people to look at is bounded.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from sidecar.core.agreement import Agreement

FAR = 2.0
"""How many times slower than the other one an answer is far slower."""
KEPT_PAIRS = 100
KEPT_READINGS = 200


class Pair(NamedTuple):
    """Latencies of one request, asked of both versions one after the other, milliseconds."""

    base_ms: float
    version_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Race:
    """All pairs of one shape of request.

    `slower` are those in which the new version took longer than the margin allows, `far_slower`
    those in which it took more than `FAR` times as long as the old one, `far_faster` the reverse.
    `latest` are the last `KEPT_PAIRS`.
    """

    pairs: int = 0
    slower: int = 0
    far_slower: int = 0
    far_faster: int = 0
    latest: tuple[Pair, ...] = ()

    def with_(self, pairs: Sequence[Pair], *, margin: float) -> "Race":
        return Race(
            pairs=self.pairs + len(pairs),
            slower=self.slower
            + sum(pair.version_ms > (1 + margin) * pair.base_ms for pair in pairs),
            far_slower=self.far_slower
            + sum(pair.version_ms > FAR * pair.base_ms for pair in pairs),
            far_faster=self.far_faster
            + sum(pair.base_ms > FAR * pair.version_ms for pair in pairs),
            latest=(*self.latest, *pairs)[-KEPT_PAIRS:],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What a server has counted of one version's requests since it was loaded."""

    succeeded: int = 0
    failed: int = 0

    def plus(self, more: "Served") -> "Served":
        return Served(succeeded=self.succeeded + more.succeeded, failed=self.failed + more.failed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What the model's processes, or the whole server where these are not told apart, held.

    `declared_bytes` is the manifest's figure for the new version alone. `readings` are (seconds
    since the trial began, bytes held, requests until then), the first and the latest
    `KEPT_READINGS`.
    """

    declared_bytes: int
    readings: tuple[tuple[float, int, int], ...] = ()

    def with_(self, seconds: float, held_bytes: int, requests: int) -> "Memory":
        readings = (*self.readings, (seconds, held_bytes, requests))
        if len(readings) > KEPT_READINGS:
            readings = (readings[0], *readings[-KEPT_READINGS + 1 :])
        return replace(self, readings=readings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """Of the version `version` against `base`.

    `watched_s` are the seconds that somebody really watched. `races` are by shape, `outputs` by
    output. `requests` counts different requests whose answers were compared, `recorded` those of
    them that clients had sent, `unasked` those that are still to be asked. `failures` are requests
    that the base answered and the new version did not; `failure` is what it said to the last one.
    `served_before` is what the server had counted of each version when the trial began, `served`
    what it has now. `obstacle` is why nothing can be compared.
    """

    base: int
    version: int
    began_s: float
    rounds: int = 0
    looked_at_s: float = 0.0
    watched_s: float = 0.0
    races: Mapping[str, Race] = field(default_factory=dict)
    outputs: Mapping[str, Agreement] = field(default_factory=dict)
    requests: int = 0
    recorded: int = 0
    unasked: int = 0
    failures: int = 0
    failure: str | None = None
    memory: Memory | None = None
    served_before: Mapping[int, Served] = field(default_factory=dict)
    served: Mapping[int, Served] = field(default_factory=dict)
    obstacle: str | None = None
