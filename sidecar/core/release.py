"""A release: how a version gets from the store to traffic, as a table of states.

    admitted -> canary_loading -> verifying -> canary_warming -> measuring -> comparing
        -> promoting -> soaking -> finishing -> done
    comparing -> awaiting -> promoting          a person is asked
    ... -> pinning -> promoting -> shifting -> soaking      requests are shifted in shares
    any state before promoting -> refused
    promoting ... finishing -> rolling_back -> rolled_back
    done -> restoring -> rolling_back -> rolled_back

What the servers hold follows from the state (`core.wanted`), so a release that was cut off
goes on from its recorded state, and nothing needs to be undone by hand.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from sidecar.core.events import Event, EventDetail, EventName
from sidecar.core.strategy import DEFAULT_STRATEGY, Copies, Strategy
from sidecar.core.verdict import Evidence
from sidecar.errors import InvariantBroken


class ReleaseState(StrEnum):
    """What is being done for a release.

    `pinning`: the gateway is told to name the base, so that no request meets the new version
    before its share says so. `restoring`: the base is brought back beside the new version.
    """

    ADMITTED = "admitted"
    CANARY_LOADING = "canary_loading"
    VERIFYING = "verifying"
    CANARY_WARMING = "canary_warming"
    MEASURING = "measuring"
    COMPARING = "comparing"
    AWAITING = "awaiting"
    PINNING = "pinning"
    PROMOTING = "promoting"
    SHIFTING = "shifting"
    SOAKING = "soaking"
    FINISHING = "finishing"
    DONE = "done"
    RESTORING = "restoring"
    ROLLING_BACK = "rolling_back"
    ROLLED_BACK = "rolled_back"
    REFUSED = "refused"


S = ReleaseState

TRANSITIONS: dict[ReleaseState, frozenset[ReleaseState]] = {
    S.ADMITTED: frozenset({S.CANARY_LOADING, S.REFUSED}),
    S.CANARY_LOADING: frozenset({S.VERIFYING, S.REFUSED}),
    S.VERIFYING: frozenset({S.CANARY_WARMING, S.REFUSED}),
    S.CANARY_WARMING: frozenset({S.MEASURING, S.PROMOTING, S.REFUSED}),
    S.MEASURING: frozenset({S.COMPARING, S.AWAITING, S.PINNING, S.PROMOTING, S.REFUSED}),
    S.COMPARING: frozenset({S.AWAITING, S.PINNING, S.PROMOTING, S.REFUSED}),
    S.AWAITING: frozenset({S.PINNING, S.PROMOTING, S.REFUSED}),
    S.PINNING: frozenset({S.PROMOTING, S.REFUSED}),
    S.PROMOTING: frozenset({S.SHIFTING, S.SOAKING, S.FINISHING, S.ROLLING_BACK}),
    S.SHIFTING: frozenset({S.SOAKING, S.FINISHING, S.ROLLING_BACK}),
    S.SOAKING: frozenset({S.FINISHING, S.ROLLING_BACK}),
    S.FINISHING: frozenset({S.DONE, S.ROLLING_BACK}),
    S.DONE: frozenset({S.RESTORING, S.ROLLING_BACK}),
    S.RESTORING: frozenset({S.ROLLING_BACK, S.DONE}),
    S.ROLLING_BACK: frozenset({S.ROLLED_BACK, S.DONE}),
    S.ROLLED_BACK: frozenset(),
    S.REFUSED: frozenset(),
}

WITHOUT_WARMUP = frozenset({S.CANARY_LOADING, S.VERIFYING})
ON_CANARY = WITHOUT_WARMUP | {S.CANARY_WARMING, S.MEASURING, S.COMPARING, S.AWAITING}
BEFORE_PROMOTION = ON_CANARY | {S.ADMITTED, S.PINNING}
WATCHED = frozenset({S.SHIFTING, S.SOAKING})
"""The new version gets requests, and its answers are held against the base's."""
HOLDS_BOTH = WATCHED | {S.PROMOTING}
PROMOTED = HOLDS_BOTH | {S.FINISHING}
RESTING = frozenset({S.DONE, S.ROLLED_BACK, S.REFUSED})
GOING_BACK = frozenset({S.RESTORING, S.ROLLING_BACK, S.REFUSED})
CAN_ROLL_BACK = BEFORE_PROMOTION | PROMOTED | {S.DONE}
CAN_PROMOTE = WATCHED | {S.AWAITING}


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One state that a release entered, with the evidence that brought it there.

    The same state again is a remark: a larger share of the requests, a pause. `operation` is the
    request over REST that asked for it, by `actor`.
    """

    state: ReleaseState
    at_s: float
    note: str
    evidence: tuple[Evidence, ...] = ()
    actor: str | None = None
    operation: str | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """Who asked for a step, and by which operation."""

    actor: str
    operation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """One version's way to traffic.

    `base` is the version that served when the release began; None when the model had never
    served. `share` is the percentage of the requests that the version gets while they are
    shifted. `watched_from_s` is how long the two versions had been watched when that share, or
    the soak, began. `rejected`: the evidence was against the version, so that it is not released
    again as it is.
    """

    id: str
    model: str
    version: int
    base: int | None
    actor: str
    state: ReleaseState
    steps: tuple[Step, ...]
    strategy: Strategy = DEFAULT_STRATEGY
    share: int | None = None
    watched_from_s: float = 0.0
    paused_by: str | None = None
    rejected: bool = False

    @property
    def is_active(self) -> bool:
        return self.state not in RESTING

    @property
    def can_roll_back(self) -> bool:
        return self.state in CAN_ROLL_BACK

    @property
    def keeps_one(self) -> bool:
        """Whether the serving server never holds both versions."""
        return self.strategy.copies is Copies.ONE_AT_A_TIME

    @property
    def entered_at_s(self) -> float:
        """When the release came to the state where it is."""
        since = self.steps[-1].at_s
        for step in reversed(self.steps):
            if step.state is not self.state:
                break
            since = step.at_s
        return since

    @property
    def weights(self) -> dict[int, int] | None:
        """How the gateway is to share requests among versions; None leaves it to Triton."""
        if not self.strategy.shift or self.base is None:
            return None
        if self.state is S.SHIFTING and self.share is not None:
            return {self.base: 100 - self.share, self.version: self.share}
        if self.state in (S.PINNING, S.PROMOTING, S.ROLLING_BACK):
            return {self.base: 100}
        return None

    def has_heeded(self, operation: str) -> bool:
        """Whether the release has done what this operation asked for."""
        return any(step.operation == operation for step in self.steps)

    def turned_round_since(self, at_s: float) -> bool:
        """Whether the release has begun to go back at or after `at_s`."""
        return any(step.state in GOING_BACK and step.at_s >= at_s for step in self.steps)

    @property
    def reason(self) -> str:
        """Why the release is where it is."""
        return self.steps[-1].note

    def entered(
        self,
        state: ReleaseState,
        *,
        at_s: float,
        note: str,
        evidence: tuple[Evidence, ...] = (),
        by: Asked | None = None,
    ) -> "Release":
        """The release one step further.

        Raises:
            InvariantBroken: the table has no such transition.
        """
        if state not in TRANSITIONS[self.state]:
            raise InvariantBroken(f"release {self.id}: no transition {self.state} -> {state}")
        moved = replace(self, state=state, share=None, paused_by=None)
        return moved.remarked(at_s=at_s, note=note, evidence=evidence, by=by)

    def remarked(
        self,
        *,
        at_s: float,
        note: str,
        evidence: tuple[Evidence, ...] = (),
        by: Asked | None = None,
    ) -> "Release":
        """The same state, with something to be said about it."""
        step = Step(
            state=self.state,
            at_s=at_s,
            note=note,
            evidence=evidence,
            actor=by.actor if by else None,
            operation=by.operation if by else None,
        )
        return replace(self, steps=(*self.steps, step))


def moved(release: Release) -> Event:
    """What is told of a release's newest step."""
    step = release.steps[-1]
    detail: dict[str, EventDetail] = {
        "release": release.id,
        "step": len(release.steps),
        "base": release.base or 0,
        "version": release.version,
        "state": step.state.value,
        "note": step.note,
    }
    if step.actor is not None:
        detail["actor"] = step.actor
    detail |= {f"{each.check}": each.ruling.value for each in step.evidence}
    return Event(name=EventName.RELEASE_MOVED, model=release.model, detail=detail)


def release_id(model: str, version: int, at_s: float) -> str:
    """A name for a release: readable, and unique because a model has one at a time."""
    return f"{model}.{version}.{int(at_s * 1000):x}"


def admit(
    *,
    release_id: str,
    model: str,
    version: int,
    base: int | None,
    actor: str,
    at_s: float,
    strategy: Strategy = DEFAULT_STRATEGY,
) -> Release:
    came_from = f"version {base} serves" if base is not None else "the model has never served"
    note = f"version {version} requested by {actor}; {came_from}"
    return Release(
        id=release_id,
        model=model,
        version=version,
        base=base,
        actor=actor,
        state=S.ADMITTED,
        steps=(Step(state=S.ADMITTED, at_s=at_s, note=note, actor=actor),),
        strategy=strategy,
    )
