"""Loads that a request waited for, from the audit's entries in their order."""

from dataclasses import dataclass, replace

from sidecar.core.events import Event, EventName
from sidecar.core.fleet import Server

COUNTED_S = 24 * 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ColdStarts:
    """Of one model. `began_s` are those of about the last day, newest last.

    `last_wait_s` is how long the newest took, from the decision to load until the model was loaded,
    warmed and probed; None while that goes on.
    """

    began_s: tuple[float, ...]
    last_wait_s: float | None

    def counted(self, now_s: float) -> int:
        """How many began within the last day."""
        return sum(at_s > now_s - COUNTED_S for at_s in self.began_s)


def with_event(known: ColdStarts | None, event: Event, at_s: float) -> ColdStarts | None:
    """What is known of the event's model after it."""
    match event.name:
        case EventName.MODEL_KEPT if event.detail.get("waited_for"):
            before = known.began_s if known else ()
            lately = tuple(began_s for began_s in before if began_s > at_s - COUNTED_S)
            return ColdStarts(began_s=(*lately, at_s), last_wait_s=None)
        case EventName.MODEL_LOADED if (
            event.server == Server.SERVING and known is not None and known.last_wait_s is None
        ):
            return replace(known, last_wait_s=max(0.0, at_s - known.began_s[-1]))
        case _:
            return known
