"""What goes over the wire. Bodies refuse unknown fields; times are RFC 3339 UTC."""

from datetime import UTC, datetime
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from contract.intent import Tier
from sidecar.api.traffic_schemas import TrafficBody
from sidecar.core.activation import Heat
from sidecar.core.cold_starts import ColdStarts
from sidecar.core.events import EventDetail, EventName
from sidecar.core.figures import Figures, LatencyBasis
from sidecar.core.fleet import Control, Mode, Operation, OperationKind, Profile
from sidecar.core.spec import Spec
from sidecar.core.status import ModelStatus, Warmth
from sidecar.core.traffic import Traffic
from sidecar.ports import Entry
from sidecar.settings import Role

MAX_ENTRY_ID = 2**63 - 1
ENTRY_ID = Annotated[int, Field(ge=0, le=MAX_ENTRY_ID)]


class ModelBody(BaseModel):
    """One model: what is wanted (`tier`) and what is the case (`warmth`, `ready`).

    `requests_by_hour` counts all requests by hour of the day, UTC, and is empty before the first.
    `p50_ms` is the median of clients' requests lately where `p50_basis` is `gateway`, and of the
    quickest shape after warm-up where it is `warm_up`; null until anything is known.
    `cold_starts` are loads of the last 24 h that a request waited for; the newest began at
    `last_cold_start_at` and took `last_cold_start_s`, which is null while it goes on.
    `score` is what holding it is worth: cold-start seconds per hour for each GiB, or the
    ranking's own unit. `quarantined_until` is null also for a quarantine that a person ends.
    `traffic` is null without a gateway. `rejected_versions` are not released again as they are, by
    version with the reason. `pending_version` is newer than the one that serves, and nobody has
    released it: what a train would take. It is null while a release of the model goes on.
    """

    name: str
    tier: Tier
    pin: bool
    priority: int
    warmth: Warmth
    serving_version: int | None
    ready_versions: list[int]
    versions: list[int]
    rejected_versions: dict[int, str]
    pending_version: int | None
    release: str | None
    requests_per_hour: float
    requests_by_hour: list[int]
    last_request_at: datetime | None
    p50_ms: float | None
    p50_basis: LatencyBasis | None
    cold_starts: int
    last_cold_start_at: datetime | None
    last_cold_start_s: float | None
    held_bytes: int
    score: float
    quarantined: bool
    quarantined_until: datetime | None
    traffic: TrafficBody | None
    reason: str

    @classmethod
    def of(
        cls,
        status: ModelStatus,
        figures: Figures,
        traffic: Traffic | None,
        *,
        cold_starts: ColdStarts | None,
        now_s: float,
    ) -> Self:
        latency, cold = figures.latency, cold_starts
        return cls(
            name=status.name,
            tier=status.tier,
            pin=figures.pin,
            priority=figures.priority,
            warmth=status.warmth,
            serving_version=status.serving,
            ready_versions=list(status.ready),
            versions=list(status.versions),
            rejected_versions=dict(status.rejected),
            pending_version=status.pending,
            release=status.release_id and f"/v1/releases/{status.release_id}",
            requests_per_hour=figures.requests_per_hour,
            requests_by_hour=list(figures.requests_by_hour),
            last_request_at=utc_or_none(figures.last_request_at_s),
            p50_ms=latency and latency.p50_ms,
            p50_basis=latency and latency.basis,
            cold_starts=cold.counted(now_s) if cold else 0,
            last_cold_start_at=cold and utc(cold.began_s[-1]),
            last_cold_start_s=cold and cold.last_wait_s,
            held_bytes=figures.held_bytes,
            score=figures.score,
            quarantined=figures.quarantined,
            quarantined_until=utc_or_none(figures.quarantined_until_s),
            traffic=traffic and TrafficBody.of(traffic),
            reason=status.reason,
        )


class NextPage(BaseModel):
    """A list in pages; null on the last one."""

    next_page_token: str | None


class ModelList(NextPage):
    models: list[ModelBody]


class EnsuredBody(BaseModel):
    """The model answers now. `outcome` is how it was found; `joined`: another request waited."""

    model: str
    outcome: Heat
    waited_s: float


class IntentBody(BaseModel):
    """How a model is to be treated; see the settings."""

    model_config = ConfigDict(from_attributes=True)

    tier: Tier
    pin: bool
    priority: int
    idle_timeout_s: float | None
    acceptable_cold_start_s: float


class SpecBody(BaseModel):
    """`overrides` is what was said here; null leaves to the settings file and the store.

    `effective` is what holds, all three together; `warnings` is what comes of it for others.
    """

    model: str
    overrides: Spec
    effective: IntentBody
    warnings: list[str]


class ControlBody(BaseModel):
    """What the sidecar does with what it sees; `since` and `actor` are null until it was set."""

    mode: Mode
    profile: Profile
    since: datetime | None
    actor: str | None

    @classmethod
    def of(cls, control: Control, profile: Profile) -> Self:
        since = utc_or_none(control.since_s)
        return cls(mode=control.mode, profile=profile, since=since, actor=control.actor)


class OperationBody(BaseModel):
    """A long action: poll `location` until `done`; then `error` is null when it succeeded.

    `waits_for` is what it cannot go on without now; null while it can.
    """

    id: str
    location: str
    kind: OperationKind
    model: str
    release: str | None
    actor: str
    created_at: datetime
    finished_at: datetime | None
    done: bool
    error: str | None
    waits_for: str | None = None

    @classmethod
    def of(cls, operation: Operation, *, waits_for: str | None = None) -> "OperationBody":
        release = operation.release_id
        return cls(
            id=operation.id,
            location=f"/v1/operations/{operation.id}",
            kind=operation.kind,
            model=operation.model,
            release=release and f"/v1/releases/{release}",
            actor=operation.actor,
            created_at=utc(operation.created_at_s),
            finished_at=utc_or_none(operation.finished_at_s),
            done=operation.finished_at_s is not None,
            error=operation.error,
            waits_for=waits_for,
        )


class OperationList(NextPage):
    operations: list[OperationBody]


class EntryBody(BaseModel):
    """One thing that happened. `seconds` is how long it took; `actor` is who asked for it.

    `trouble`: somebody may have to do something about it; in the log it is a warning.
    """

    id: int
    at: datetime
    event: EventName
    trouble: bool
    model: str | None
    server: str | None
    seconds: float | None
    actor: str | None
    request_id: str | None
    detail: dict[str, EventDetail]

    @classmethod
    def of(cls, entry: Entry) -> Self:
        event = entry.event
        detail = dict(event.detail)
        actor, request_id = detail.pop("actor", None), detail.pop("request_id", None)
        return cls(
            id=entry.id,
            at=utc(entry.at_s),
            event=event.name,
            trouble=event.is_trouble,
            model=event.model,
            server=event.server,
            seconds=event.seconds,
            actor=None if actor is None else str(actor),
            request_id=None if request_id is None else str(request_id),
            detail=detail,
        )


class AuditPage(NextPage):
    entries: list[EntryBody]


class ReplicaBody(BaseModel):
    """`models` maps each to its versions; `free_bytes` is what the largest device can be given."""

    models: dict[str, list[int]]
    stateful: list[str]
    joined: bool
    free_bytes: int


class CallerBody(BaseModel):
    """Who the token belongs to. A `viewer` reads; an `operator` may do everything."""

    name: str
    role: Role


class Alive(BaseModel):
    status: Literal["alive"] = "alive"


class Startup(BaseModel):
    started: bool
    detail: str


class HealthCheck(BaseModel):
    name: str
    ok: bool
    detail: str


class Readiness(BaseModel):
    """`missing` says, one sentence each, what keeps the sidecar from being ready.

    `checks`, on request, is everything that was looked at. Not all of it is needed: a canary
    that is away, for one, keeps nobody from being served.
    """

    ready: bool
    missing: list[str]
    checks: list[HealthCheck] | None = None


def utc(at_s: float) -> datetime:
    return datetime.fromtimestamp(at_s, tz=UTC)


def utc_or_none(at_s: float | None) -> datetime | None:
    return None if at_s is None else utc(at_s)
