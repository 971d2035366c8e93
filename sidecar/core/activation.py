"""What somebody who waits for a model is told: nothing yet, that it answers, or why not."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from sidecar.core.actions import Blocked
from sidecar.core.ensembles import quarantine_of
from sidecar.core.fleet import Mode, Quarantine, Snapshot
from sidecar.core.routing import is_served


class Heat(StrEnum):
    """How a request found its model; `joined`: another one had begun to wait before."""

    HIT = "hit"
    COLD = "cold"
    JOINED = "joined"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """The model is loaded, warmed and probed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NotServed:
    """There is no such model in the store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resting:
    """The sidecar begins nothing at the moment."""

    mode: Mode


Verdict = Answers | NotServed | Resting | Quarantine | Blocked


def verdict(
    snapshot: Snapshot, blocked: Mapping[str, Blocked], model: str, now_s: float
) -> Verdict | None:
    """None while it is worth waiting."""
    if is_served(snapshot, model):
        return Answers()
    if model in snapshot.leaving:
        return None
    if model not in snapshot.models:
        return NotServed()
    quarantine = quarantine_of(snapshot, model, now_s)
    if quarantine is not None:
        return quarantine
    obstacles = map(blocked.get, (model, *snapshot.composing(model)))
    final = next((each for each in obstacles if each is not None and each.is_final), None)
    if final is not None:
        return final
    return None if snapshot.mode is Mode.RUNNING else Resting(mode=snapshot.mode)
