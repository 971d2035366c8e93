"""A release: how a version gets from the store to traffic, as a table of states.

    admitted -> canary_loading -> verifying -> canary_warming -> promoting -> soaking
        -> finishing -> done
    any state before promoting -> refused
    promoting | soaking | finishing -> rolling_back -> rolled_back
    done -> restoring -> rolling_back -> rolled_back

What the servers hold follows from the state (`core.wanted`), so a release that was cut off
goes on from its recorded state, and nothing needs to be undone by hand.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from sidecar.errors import InvariantBroken


class ReleaseState(StrEnum):
    ADMITTED = "admitted"
    CANARY_LOADING = "canary_loading"
    VERIFYING = "verifying"
    CANARY_WARMING = "canary_warming"
    PROMOTING = "promoting"
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
    S.CANARY_WARMING: frozenset({S.PROMOTING, S.REFUSED}),
    S.PROMOTING: frozenset({S.SOAKING, S.FINISHING, S.ROLLING_BACK}),
    S.SOAKING: frozenset({S.FINISHING, S.ROLLING_BACK}),
    S.FINISHING: frozenset({S.DONE, S.ROLLING_BACK}),
    S.DONE: frozenset({S.RESTORING}),
    S.RESTORING: frozenset({S.ROLLING_BACK, S.DONE}),
    S.ROLLING_BACK: frozenset({S.ROLLED_BACK}),
    S.ROLLED_BACK: frozenset(),
    S.REFUSED: frozenset(),
}

ON_CANARY = frozenset({S.CANARY_LOADING, S.VERIFYING, S.CANARY_WARMING})
BEFORE_PROMOTION = frozenset({S.ADMITTED}) | ON_CANARY
RESTING = frozenset({S.DONE, S.ROLLED_BACK, S.REFUSED})
GOING_BACK = frozenset({S.RESTORING, S.ROLLING_BACK, S.REFUSED})
CAN_ROLL_BACK = BEFORE_PROMOTION | {S.PROMOTING, S.SOAKING, S.FINISHING, S.DONE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One state that a release entered, with the evidence that brought it there."""

    state: ReleaseState
    at_s: float
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """One version's way to traffic.

    `base` is the version that served when the release began; None when the model had never
    served. `soak_until_s` is set while soaking.
    """

    id: str
    model: str
    version: int
    base: int | None
    actor: str
    state: ReleaseState
    steps: tuple[Step, ...]
    soak_until_s: float | None = None

    @property
    def is_active(self) -> bool:
        return self.state not in RESTING

    @property
    def can_roll_back(self) -> bool:
        return self.state in CAN_ROLL_BACK

    def turned_round_since(self, at_s: float) -> bool:
        """Whether the release has begun to go back at or after `at_s`."""
        return any(step.state in GOING_BACK and step.at_s >= at_s for step in self.steps)

    @property
    def reason(self) -> str:
        """Why the release is where it is."""
        return self.steps[-1].note

    def entered(self, state: ReleaseState, *, at_s: float, note: str) -> "Release":
        """The release one step further.

        Raises:
            InvariantBroken: the table has no such transition.
        """
        if state not in TRANSITIONS[self.state]:
            raise InvariantBroken(f"release {self.id}: no transition {self.state} -> {state}")
        step = Step(state=state, at_s=at_s, note=note)
        return replace(self, state=state, steps=(*self.steps, step), soak_until_s=None)


def release_id(model: str, version: int, at_s: float) -> str:
    """A name for a release: readable, and unique because a model has one at a time."""
    return f"{model}.{version}.{int(at_s * 1000):x}"


def admit(
    *, release_id: str, model: str, version: int, base: int | None, actor: str, at_s: float
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
        steps=(Step(state=S.ADMITTED, at_s=at_s, note=note),),
    )
