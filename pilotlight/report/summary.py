"""What became of a release, what is not known of it, and what a person may do now."""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from pilotlight.views import Body
from pilotlight.views.releases import may_say
from pilotlight.views.words import spoken
from sidecar.core.release import GOING_BACK, RESTING, WATCHED, ReleaseState
from sidecar.core.strategy import Outputs

S = ReleaseState

_SAID = {
    S.DONE: ("was released", " in place of version {base}"),
    S.REFUSED: ("was refused", "; version {base} went on serving"),
    S.AWAITING: ("waits for a person to decide", "; version {base} serves"),
    S.RESTORING: ("is being rolled back", " to version {base}"),
    S.ROLLING_BACK: ("is being rolled back", " to version {base}"),
    S.ROLLED_BACK: ("was rolled back", "; version {base} served again"),
}
"""Of a version, and of its base where there is one."""
_UNLESS = ", unless another release has followed"
_WITHOUT = frozenset({S.REFUSED, S.ROLLED_BACK})


class Mark(StrEnum):
    GOOD = "good"
    BAD = "bad"
    WAITS = "waits"
    GOES_ON = "goes-on"


@dataclass(frozen=True, slots=True)
class Command:
    """`effect` completes the sentence that the command begins."""

    line: str
    effect: str


def mark(release: Body) -> Mark:
    if may_say(release):
        return Mark.WAITS
    if release["active"]:
        return Mark.GOES_ON
    return Mark.GOOD if release["state"] == S.DONE else Mark.BAD


def headline(release: Body) -> str:
    """What became of it, in one sentence that stays true when other releases follow."""
    state, base = ReleaseState(release["state"]), release["base"]
    said, of_base = _SAID.get(state, (f"is on its way, {spoken(state)}", ""))
    beside = "" if base is None else of_base.format(base=base)
    by = f", paused by {release['paused_by']}" if release["paused_by"] is not None else ""
    return f"Version {release['version']} {said}{beside}{by}"


def commands(release: Body) -> Iterator[Command]:
    """What a person may type now."""
    name, version, base = release["id"], release["version"], release["base"]
    effects = {
        "resume": "lets the release go on",
        "promote": f"gives version {version} the requests",
        "abort": f"ends the release without version {version}",
    }
    for verb in may_say(release):
        yield _command(verb, name, effect=effects[verb])
    if release["state"] == S.DONE and base is not None:
        yield _command("rollback", name, effect=f"brings version {base} back{_UNLESS}")
    if release["state"] in _WITHOUT and not is_rejected(release):
        yield _command("release", release["model"], str(version), effect=f"tries again{_UNLESS}")
    if is_rejected(release):
        effect = f"lets version {version} be released again as it is"
        yield _command("unreject", release["model"], str(version), effect=effect)


def is_rejected(release: Body) -> bool:
    """A first version is not: there is nothing to keep instead."""
    return release["rejected"] and release["base"] is not None and not release["active"]


def absences(release: Body, gathered: Body) -> Iterator[str]:
    """Why there is nothing of a comparison, or of the time when the version served."""
    if not gathered["compare"]:
        yield _why_not_compared(release)
    if not gathered["guard"]:
        yield _why_not_watched(release)


def _why_not_compared(release: Body) -> str:
    if release["base"] is None:
        return "Not compared: no version of this model had served before."
    strategy = release["strategy"]
    if strategy["outputs"] == Outputs.ANY and strategy["latency_margin"] is None:
        return "Not compared: the strategy leaves outputs and latencies alone."
    if S.COMPARING in _states(release):
        return "Compared, but nothing of it is on record."
    return _not_reached(release, "compared")


def _why_not_watched(release: Body) -> str:
    if release["base"] is None:
        return "Not watched: there was no version to fall back on."
    if WATCHED & _states(release):
        return "Watched, but nothing of it is on record."
    return _not_reached(release, "watched under clients' requests")


def _not_reached(release: Body, what: str) -> str:
    if release["active"]:
        return f"Not {what} yet: the release is at {spoken(release['state'])}."
    on_the_way = [
        step["state"] for step in release["steps"] if step["state"] not in RESTING | GOING_BACK
    ]
    return f"Never {what}: the release came as far as {spoken(on_the_way[-1])}."


def _states(release: Body) -> set[ReleaseState]:
    return {ReleaseState(step["state"]) for step in release["steps"]}


def _command(verb: str, *arguments: str, effect: str) -> Command:
    return Command(shlex.join(["pilotlight", verb, *arguments]), effect)
