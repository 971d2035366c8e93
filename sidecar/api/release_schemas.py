"""What goes over the wire about releases: what is asked, each step, and all that was gathered."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from itertools import pairwise
from math import isfinite
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field

from contract.layout import MAX_VERSION
from contract.strict import Strict
from sidecar.api.schemas import NextPage, utc
from sidecar.api.traffic_schemas import AgreementBody
from sidecar.core.agreement import Agreement
from sidecar.core.fleet import CheckKind
from sidecar.core.judge import served_since
from sidecar.core.release import RESTING, WATCHED, Release, ReleaseState, Step
from sidecar.core.strategy import DEFAULT_STRATEGY, Strategy
from sidecar.core.trial import Memory, Race, Trial
from sidecar.core.verdict import Evidence, Ruling


class ReleaseRequest(Strict):
    """Which version is to get the traffic, and how: a positive integer without leading zeros.

    With `supersede`, a release of the model that goes on is aborted first.
    """

    version: Annotated[int, Field(strict=True, ge=1, le=MAX_VERSION, examples=[2])]
    strategy: Strategy = DEFAULT_STRATEGY
    supersede: Annotated[bool, Field(strict=True)] = False


class Isolation(StrEnum):
    """Where a version is proven.

    `server`: on a Triton of its own. `shadow`: under another name on the one that takes traffic,
    which a version that kills its server takes with it.
    """

    SERVER = "server"
    SHADOW = "shadow"


class EvidenceBody(BaseModel):
    """One check. `numbers` have their units in their names, and are null where infinite."""

    check: str
    ruling: Ruling
    note: str
    numbers: dict[str, float | None]

    @classmethod
    def of(cls, evidence: Evidence) -> Self:
        return cls(
            check=evidence.check,
            ruling=evidence.ruling,
            note=evidence.note,
            numbers={
                name: value if isfinite(value) else None for name, value in evidence.numbers.items()
            },
        )


class StepBody(BaseModel):
    """A state, or a remark on it. `seconds` is how long it took until the next; null for the last.

    `evidence` is what brought the release there. `actor` is who asked for it, and `operation` by
    which request; both are null for what the sidecar did by itself.
    """

    state: ReleaseState
    at: datetime
    seconds: float | None
    note: str
    evidence: list[EvidenceBody]
    actor: str | None
    operation: str | None

    @classmethod
    def of(cls, step: Step, seconds: float | None) -> Self:
        return cls(
            state=step.state,
            at=utc(step.at_s),
            seconds=seconds,
            note=step.note,
            evidence=[EvidenceBody.of(each) for each in step.evidence],
            actor=step.actor,
            operation=step.operation and f"/v1/operations/{step.operation}",
        )


class SoakBody(BaseModel):
    """How long both versions have been watched, of how long; `progress` is from 0 to 1.

    While requests are shifted, it is about the present share.
    """

    watched_s: float
    soak_s: float
    progress: float


class ReleaseBody(BaseModel):
    """A version's way to traffic; `steps` holds each state with its evidence.

    `share` is the percentage of the requests that the version gets while they are shifted.
    `waits_for` is what it cannot go on without now; null while it can. `rejected`: the evidence was
    against it. `soak` is null unless both versions are watched.
    `seconds` is what the way took so far as it is known, without rest in `done`.
    """

    id: str
    location: str
    model: str
    version: int
    base: int | None
    actor: str
    strategy: Strategy
    isolation: Isolation
    state: ReleaseState
    active: bool
    reason: str
    share: int | None
    paused_by: str | None
    waits_for: str | None
    rejected: bool
    soak: SoakBody | None
    seconds: float
    steps: list[StepBody]

    @classmethod
    def of(
        cls,
        release: Release,
        *,
        guard: Trial | None,
        soak_s: float,
        isolation: Isolation,
        waits_for: str | None,
    ) -> Self:
        """`guard` is what was watched so far, `soak_s` how long its soak lasts."""
        steps = _steps(release)
        return cls(
            id=release.id,
            location=f"/v1/releases/{release.id}",
            model=release.model,
            version=release.version,
            base=release.base,
            actor=release.actor,
            strategy=release.strategy,
            isolation=isolation,
            state=release.state,
            active=release.is_active,
            reason=release.reason,
            share=release.share,
            paused_by=release.paused_by,
            waits_for=waits_for,
            rejected=release.rejected,
            soak=_soak(release, guard, soak_s),
            seconds=sum(step.seconds or 0.0 for step in steps if step.state not in RESTING),
            steps=steps,
        )


class ReleaseList(NextPage):
    releases: list[ReleaseBody]


class PairBody(BaseModel):
    base_ms: float
    version_ms: float


class RaceBody(BaseModel):
    """Requests of one shape, each asked of both versions; `latest` are the last pairs.

    `slower` are pairs in which the new version took longer than the margin allows, `far_slower`
    those in which it took more than twice as long.
    """

    pairs: int
    slower: int
    far_slower: int
    latest: list[PairBody]

    @classmethod
    def of(cls, race: Race) -> Self:
        return cls(
            pairs=race.pairs,
            slower=race.slower,
            far_slower=race.far_slower,
            latest=[PairBody.model_validate(pair._asdict()) for pair in race.latest],
        )


class OutputBody(AgreementBody):
    """`errors` are the latest scaled ones, without those of the `not_comparable` answers.

    `rows` is how many vectors `same_top` is about. `tolerance` is the manifest's for these errors;
    null where that cannot be read any more.
    """

    rows: int
    tolerance: float | None
    not_comparable: int
    errors: list[float]

    @classmethod
    def of(cls, found: Agreement, tolerance: float | None = None) -> Self:
        return cls(
            **AgreementBody.of(found).model_dump(),
            rows=found.rows,
            tolerance=tolerance,
            not_comparable=found.not_comparable,
            errors=list(found.errors),
        )


class ReadingBody(BaseModel):
    """`seconds` since the trial began, and `requests` until then."""

    seconds: float
    held_bytes: int
    requests: int


class MemoryBody(BaseModel):
    """`declared_bytes` is the manifest's figure for the new version alone."""

    declared_bytes: int
    readings: list[ReadingBody]

    @classmethod
    def of(cls, memory: Memory) -> Self:
        readings = [
            ReadingBody(seconds=seconds, held_bytes=held_bytes, requests=requests)
            for seconds, held_bytes, requests in memory.readings
        ]
        return cls(declared_bytes=memory.declared_bytes, readings=readings)


class ServedBody(BaseModel):
    """Requests of clients that a version answered, and those that it failed, during the trial."""

    model_config = ConfigDict(from_attributes=True)

    succeeded: int
    failed: int


class TrialBody(BaseModel):
    """What both versions made of the same requests.

    `requests` are the different ones that were compared, `recorded` those of them that clients had
    sent. `failures` were answered by the base alone. `races` are by shape, `outputs` by output,
    `served` by version. `memory` is null where it is not measured. `obstacle` is why nothing can be
    compared.
    """

    base: int
    version: int
    began_at: datetime
    looked_at: datetime
    rounds: int
    watched_s: float
    requests: int
    recorded: int
    failures: int
    failure: str | None
    obstacle: str | None
    races: dict[str, RaceBody]
    outputs: dict[str, OutputBody]
    memory: MemoryBody | None
    served: dict[int, ServedBody]

    @classmethod
    def of(cls, trial: Trial, tolerances: Mapping[str, float] | None) -> Self:
        """`tolerances` are the manifest's; an output that it leaves out must be equal."""
        return cls(
            base=trial.base,
            version=trial.version,
            began_at=utc(trial.began_s),
            looked_at=utc(trial.looked_at_s),
            rounds=trial.rounds,
            watched_s=trial.watched_s,
            requests=trial.requests,
            recorded=trial.recorded,
            failures=trial.failures,
            failure=trial.failure,
            obstacle=trial.obstacle,
            races={shape: RaceBody.of(race) for shape, race in sorted(trial.races.items())},
            outputs={
                name: OutputBody.of(
                    found, None if tolerances is None else tolerances.get(name, 0.0)
                )
                for name, found in sorted(trial.outputs.items())
            },
            memory=trial.memory and MemoryBody.of(trial.memory),
            served={
                version: ServedBody.model_validate(served_since(trial, version))
                for version in sorted(trial.served)
            },
        )


class GatheredBody(BaseModel):
    """All that a release has gathered: `compare` on canary, `guard` under clients' requests.

    Both are null where the release did not come so far, or had nothing to compare.
    """

    release: str
    compare: TrialBody | None
    guard: TrialBody | None

    @classmethod
    def of(
        cls,
        release: Release,
        trials: Mapping[CheckKind, Trial],
        *,
        tolerances: Mapping[str, float] | None,
    ) -> Self:
        compare, guard = trials.get(CheckKind.COMPARE), trials.get(CheckKind.GUARD)
        return cls(
            release=f"/v1/releases/{release.id}",
            compare=compare and TrialBody.of(compare, tolerances),
            guard=guard and TrialBody.of(guard, tolerances),
        )


def _steps(release: Release) -> list[StepBody]:
    """A clock that was set back makes no step shorter than nothing."""
    took_s = [max(0.0, after.at_s - step.at_s) for step, after in pairwise(release.steps)]
    return [
        StepBody.of(step, seconds)
        for step, seconds in zip(release.steps, [*took_s, None], strict=True)
    ]


def _soak(release: Release, guard: Trial | None, soak_s: float) -> SoakBody | None:
    if release.state not in WATCHED:
        return None
    wanted_s = release.strategy.bake_s if release.state is ReleaseState.SHIFTING else soak_s
    watched_s = max(0.0, guard.watched_s - release.watched_from_s) if guard else 0.0
    progress = min(1.0, watched_s / wanted_s) if wanted_s else 1.0
    return SoakBody(watched_s=watched_s, soak_s=wanted_s, progress=progress)
