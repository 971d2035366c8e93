"""What the planner says, on the wire: explanations, devices, plans and what-ifs."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from contract.bytes import parse_bytes
from contract.strict import Strict
from sidecar.api.schemas import ModelBody
from sidecar.core.actions import (
    Blocked,
    Check,
    LetGo,
    Note,
    Plan,
    SaveRelease,
    SetAside,
    Settle,
    Work,
)
from sidecar.core.cost import Basis
from sidecar.core.explain import Explanation
from sidecar.core.faults import FaultKind
from sidecar.core.figures import Weighing
from sidecar.core.fleet import Profile, Server
from sidecar.core.ledger import Account, Hold
from sidecar.core.policy import OnDrift, Policy
from sidecar.core.ranking import Ranking
from sidecar.core.steady import Curve, sparkline
from sidecar.core.what_if import Choice, Outlook, WhatIf
from sidecar.settings import DeviceName

MOST_BYTES = 2**60


class _Told(BaseModel):
    """Read from an object of the core. Its seconds since 1970 become times."""

    model_config = ConfigDict(from_attributes=True)


class DemandBody(_Told):
    """How often a model is asked for: `per_hour` over about each of these times.

    `expected_per_hour` is what the score counts with; `next_at` is when a regular model is
    due; `by_hour` counts by hour of the day, UTC.
    """

    requests: int
    first_at: Annotated[datetime, Field(validation_alias="first_at_s")]
    last_at: Annotated[datetime, Field(validation_alias="last_at_s")]
    per_hour: dict[str, float]
    expected_per_hour: float
    next_at: Annotated[datetime | None, Field(validation_alias="next_at_s")]
    by_hour: list[int]


class BytesBody(_Told):
    device: str
    bytes: int
    basis: Basis


class ReloadBody(_Told):
    read_s: float
    load_s: float
    warm_up_s: float
    seconds: float


class CostBody(_Told):
    """What the version holds and takes to load; `loads` is from how many real loads it is known.

    `counted_s` is what `acceptable_s` does not forgive of the reload as it would be now.
    """

    version: int
    loads: int
    reload: ReloadBody
    acceptable_s: float
    counted_s: float
    needed: list[BytesBody]
    held: list[BytesBody]


class ForecastBody(_Told):
    """What leaving after the idle timeout comes to, and what staying always would add.

    `value` is cold-start seconds saved for each GiB-hour added.
    """

    cold_starts_per_hour: float
    held_share: float
    always_saves_s_per_hour: float
    always_costs_gib: float
    value: float
    is_worth_it: bool


class IdleBody(_Told):
    """Null: never; `forecast` null: not told before a day of requests."""

    timeout_s: float | None
    let_go_at: Annotated[datetime | None, Field(validation_alias="let_go_at_s")]
    break_even_per_hour: float | None
    forecast: ForecastBody | None
    advice: str


class VictimBody(BaseModel):
    model: str
    score: float
    freed_bytes: int
    reason: str

    @classmethod
    def of(cls, departure: LetGo) -> Self:
        return cls(
            model=departure.model,
            score=departure.score,
            freed_bytes=int(departure.numbers["freed_bytes"]),
            reason=departure.reason,
        )


class BlockedBody(_Told):
    """`is_final`: nothing of what is in the way is so for a moment only."""

    model: str
    device: str
    needed_bytes: int
    free_bytes: int
    evictable_bytes: int
    blocked_by: list[str]
    is_final: bool
    reason: str

    @classmethod
    def of(cls, obstacle: Blocked) -> Self:
        return cls(
            model=obstacle.model,
            device=obstacle.device,
            needed_bytes=obstacle.needed_bytes,
            free_bytes=obstacle.free_bytes,
            evictable_bytes=obstacle.evictable_bytes,
            blocked_by=list(obstacle.blocked_by),
            is_final=obstacle.is_final,
            reason=str(obstacle),
        )


class LoadBody(BaseModel):
    """What a request would set off now. `on_cpu`: its GPU is full, it would serve on the CPU."""

    victims: list[VictimBody]
    blocked: BlockedBody | None
    on_cpu: bool


class QuarantineBody(_Told):
    """`until` null: until a person ends it, or a newer version is there."""

    since: Annotated[datetime, Field(validation_alias="since_s")]
    until: Annotated[datetime | None, Field(validation_alias="until_s")]
    times: int
    kind: FaultKind
    reason: str


class CurveBody(BaseModel):
    """Warm-up of one shape after the newest load; `sparkline` falls as the latency did."""

    shape: str
    runs: int
    first_ms: float
    steady_ms: float
    steady: bool
    seconds: float
    sparkline: str

    @classmethod
    def of(cls, curve: Curve) -> Self:
        return cls(
            shape=curve.shape,
            runs=curve.runs,
            first_ms=curve.first_ms,
            steady_ms=curve.steady_ms,
            steady=curve.steady,
            seconds=curve.seconds,
            sparkline=sparkline(curve),
        )


class ExplanationBody(BaseModel):
    """Why a model is warm or cold. `price`: cold-start seconds that one GiB-hour is worth.

    `load` is null where no load would begin: the model is loaded, being loaded, in quarantine, or
    about to be tried again after a failure.
    """

    model: ModelBody
    ranking: Ranking
    price: float
    stays_because: str | None
    demand: DemandBody | None
    cost: CostBody
    idle: IdleBody
    load: LoadBody | None
    quarantine: QuarantineBody | None
    curves: list[CurveBody]

    @classmethod
    def of(cls, found: Explanation, model: ModelBody) -> Self:
        load = found.load
        return cls(
            model=model,
            ranking=found.ranking,
            price=found.price,
            stays_because=found.stays_because,
            demand=found.asked and DemandBody.model_validate(found.asked),
            cost=CostBody.model_validate(found.costs),
            idle=IdleBody.model_validate(found.idle),
            load=load
            and LoadBody(
                victims=[VictimBody.of(each) for each in load.victims],
                blocked=load.blocked and BlockedBody.of(load.blocked),
                on_cpu=load.on_cpu,
            ),
            quarantine=found.quarantine and QuarantineBody.model_validate(found.quarantine),
            curves=[CurveBody.of(curve) for curve in found.curves],
        )


class HolderBody(_Told):
    server: Server
    model: str
    bytes: int
    basis: Basis
    hold: Hold


class DeviceBody(BaseModel):
    """One device. `budget_bytes` is what models may hold, headroom taken off.

    `error_bytes` is measured minus accounted for; null, as the capacity, where nothing measures.
    """

    device: str
    capacity_bytes: int | None
    budget_bytes: int
    held_bytes: int
    reserved_bytes: int
    leaving_bytes: int
    foreign_bytes: int
    free_bytes: int
    error_bytes: int | None
    holders: list[HolderBody]

    @classmethod
    def of(cls, account: Account) -> Self:
        return cls(
            device=account.device,
            capacity_bytes=account.capacity_bytes,
            budget_bytes=account.budget_bytes,
            held_bytes=account.sum_of(Hold.HELD),
            reserved_bytes=account.sum_of(Hold.RESERVED),
            leaving_bytes=account.sum_of(Hold.LEAVING),
            foreign_bytes=account.foreign_bytes,
            free_bytes=account.free_bytes,
            error_bytes=account.error_bytes,
            holders=[HolderBody.model_validate(holder) for holder in account.holders],
        )


class DeviceList(BaseModel):
    """All devices. `advice` is empty while all is well.

    `price`: cold-start seconds that one GiB-hour is worth. `shadow_price`: about what one more
    GiB would save, in seconds of waiting per hour; null before the first eviction.
    """

    devices: list[DeviceBody]
    meter_problem: str | None
    headroom: float
    price: float
    shadow_price: float | None
    advice: list[str]

    @classmethod
    def of(cls, weighing: Weighing, advice: list[str]) -> Self:
        snapshot, policy = weighing.snapshot, weighing.policy
        return cls(
            devices=[DeviceBody.of(account) for account in weighing.accounts.values()],
            meter_problem=snapshot.meter_problem,
            headroom=policy.headroom,
            price=policy.price,
            shadow_price=snapshot.pressure.shadow_price if policy.ranking.is_priced else None,
            advice=advice,
        )


class _Said(_Told):
    model: str | None = None
    server: Server | None = None
    reason: str
    numbers: dict[str, float] = Field(default_factory=dict)


class ActionBody(_Said):
    """One thing to record or to do. `numbers` is what was weighed, with units in the names."""

    action: str

    @classmethod
    def of(cls, action: Note | Work) -> Self:
        match action:
            case SaveRelease(release=release):
                said = _Said(model=release.model, reason=release.reason)
            case Check(release=release, reason=reason):
                said = _Said(model=release.model, reason=reason)
            case Settle(operation=operation):
                ended = operation.error or "it is done"
                said = _Said(model=operation.model, reason=f"{operation.kind}: {ended}")
            case SetAside(model=model, quarantine=quarantine):
                said = _Said(model=model, reason=quarantine.reason)
            case _:
                said = _Said.model_validate(action)
        return cls(action=_snake(type(action).__name__), **said.model_dump())


def _snake(name: str) -> str:
    """`SaveRelease` -> `save_release`."""
    return "".join(f"_{each.lower()}" if each.isupper() else each for each in name).lstrip("_")


class PlanBody(BaseModel):
    """What was decided at the last look: first all `notes` are recorded, then `work` begins."""

    notes: list[ActionBody]
    work: list[ActionBody]
    blocked: list[BlockedBody]
    wake_at: datetime | None

    @classmethod
    def of(cls, plan: Plan) -> Self:
        return cls(
            notes=[ActionBody.of(note) for note in plan.notes],
            work=[ActionBody.of(work) for work in plan.work],
            blocked=[BlockedBody.of(obstacle) for obstacle in plan.blocked.values()],
            wake_at=plan.wake_at_s,
        )


def _parsed(size: object) -> object:
    return parse_bytes(size) if isinstance(size, str) else size


Size = Annotated[
    int,
    BeforeValidator(_parsed),
    Field(gt=0, le=MOST_BYTES),
    WithJsonSchema({"type": ["string", "integer"], "examples": ["12GiB", 12884901888]}),
]


class WhatIfRequest(Strict):
    """Other budgets, headroom included, and models that would have to be loaded."""

    budgets: dict[DeviceName, Size] = Field(default_factory=dict, examples=[{"cpu": "12GiB"}])
    load: list[str] = Field(default_factory=list)


class ChoiceBody(BaseModel):
    """`cold_start_s_per_hour` is what requests would wait if it were not held."""

    model: str
    needed: dict[str, int]
    score: float
    cold_start_s_per_hour: float
    reason: str

    @classmethod
    def of(cls, choice: Choice) -> Self:
        candidate = choice.candidate
        return cls(
            model=candidate.model,
            needed=dict(candidate.needed),
            score=candidate.score,
            cold_start_s_per_hour=candidate.cold_start_s_per_hour,
            reason=choice.reason,
        )


class SpaceBody(_Told):
    device: str
    budget_bytes: int
    held_bytes: int
    one_more_gib_saves_s_per_hour: float


class OutlookBody(BaseModel):
    """Who would be held, the most urgent first; `too_small`: what must be loaded and cannot."""

    held: list[ChoiceBody]
    left_out: list[ChoiceBody]
    devices: list[SpaceBody]
    cold_start_s_per_hour: float
    too_small: list[str]

    @classmethod
    def of(cls, outlook: Outlook) -> Self:
        return cls(
            held=[ChoiceBody.of(choice) for choice in outlook.held],
            left_out=[ChoiceBody.of(choice) for choice in outlook.left_out],
            devices=[SpaceBody.model_validate(space) for space in outlook.spaces],
            cold_start_s_per_hour=outlook.cold_start_s_per_hour,
            too_small=list(outlook.too_small),
        )


class WhatIfBody(BaseModel):
    """The present budget and the other one, in a steady picture."""

    summary: str
    now: OutlookBody
    then: OutlookBody

    @classmethod
    def of(cls, found: WhatIf) -> Self:
        return cls(
            summary=found.summary,
            now=OutlookBody.of(found.now),
            then=OutlookBody.of(found.then),
        )


class PolicyBody(_Told):
    """What decides which models stay loaded; see the settings."""

    budgets: Mapping[str, int]
    headroom: float
    price: float
    ranking: Ranking
    prewarm: bool
    cpu_while_full: bool
    on_drift: OnDrift
    soak_s: float
    parallel_loads: int
    profile: Profile

    @classmethod
    def of(cls, policy: Policy, profile: Profile) -> Self:
        shown = {name: getattr(policy, name) for name in cls.model_fields if name != "profile"}
        return cls(profile=profile, **shown)
