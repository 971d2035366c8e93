"""What the API must know of the gateway's settings."""

from collections.abc import Callable
from dataclasses import dataclass

from sidecar.core.comparison import Comparison
from sidecar.core.fleet import Snapshot
from sidecar.core.recording import Drops
from sidecar.core.traffic import Traffic


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """`http` and `grpc` are the `host:port` that clients connect to.

    `can_mirror` is whether the gateway knows where canary takes copies of requests. `comparison`
    tells what came of a model's sampled ones, `drops` which of them were not recorded.
    """

    http: str
    grpc: str
    can_mirror: bool
    comparison: Callable[[str], Comparison | None] = lambda _: None
    drops: Callable[[str], Drops] = lambda _: Drops()


def counted(front: Front | None, snapshot: Snapshot, model: str) -> Traffic | None:
    """What the gateway has counted of a model; None without a gateway."""
    return None if front is None else snapshot.traffic.get(model, Traffic())
