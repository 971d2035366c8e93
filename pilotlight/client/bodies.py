"""What goes over the wire, after the sidecar's OpenAPI document.

Not written by hand: `python -m tests.unit.pilotlight.client.bodies` writes it anew.

Words of a fixed set, such as a tier, are known to the type checker. At run time they are any
string, so that the word of a newer sidecar is no error.
"""

from datetime import datetime
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from pilotlight.client.body import Body, Page, Tagged

if TYPE_CHECKING:
    Approval = Literal["automatic", "manual"]
    Basis = Literal["measured", "learned", "declared"]
    CarState = Literal["waiting", "going", "done", "skipped", "failed"]
    Copies = Literal["both", "one_at_a_time"]
    EventName = Literal[
        "sidecar_started",
        "sidecar_stopped",
        "server_lost",
        "server_found",
        "server_ended",
        "server_not_ended",
        "memory_leaked",
        "became_ready",
        "became_unready",
        "model_loaded",
        "model_adopted",
        "load_failed",
        "model_unloaded",
        "unload_failed",
        "unload_called_off",
        "check_passed",
        "check_failed",
        "release_moved",
        "version_recorded",
        "version_rejected",
        "rejection_cleared",
        "train_begun",
        "train_stopped",
        "train_ended",
        "operation_accepted",
        "operation_ended",
        "model_kept",
        "model_let_go",
        "model_evicted",
        "model_set_aside",
        "model_readmitted",
        "files_read_ahead",
        "read_ahead_failed",
        "never_steady",
        "drift",
        "does_not_fit",
        "meter_failed",
        "gateway_lost",
        "gateway_found",
        "replica_joined",
        "replica_left",
        "replica_refused",
        "mode_changed",
        "profile_changed",
        "spec_changed",
        "steering_changed",
        "recording_changed",
        "store_damaged",
        "problem_found",
        "problem_gone",
        "cycle_failed",
    ]
    FaultKind = Literal[
        "out_of_memory",
        "backend_missing",
        "missing_file",
        "no_gpu",
        "corrupt",
        "warm_up_failed",
        "wrong_answer",
        "timeout",
        "server_lost",
        "unknown",
    ]
    Heat = Literal["hit", "cold", "joined"]
    Hold = Literal["held", "reserved", "leaving"]
    Isolation = Literal["server", "shadow"]
    LatencyBasis = Literal["gateway", "warm_up"]
    Mode = Literal["running", "paused", "draining"]
    OnDrift = Literal["repair", "adopt"]
    OperationKind = Literal[
        "load", "unload", "release", "rollback", "promote", "pause", "resume", "abort"
    ]
    Outputs = Literal["alike", "equal", "any"]
    Profile = Literal["production", "development"]
    Ranking = Literal["value", "value-lite", "lru", "lfu", "gdsf"]
    ReleaseState = Literal[
        "admitted",
        "canary_loading",
        "verifying",
        "canary_warming",
        "measuring",
        "comparing",
        "awaiting",
        "pinning",
        "promoting",
        "shifting",
        "soaking",
        "finishing",
        "done",
        "restoring",
        "rolling_back",
        "rolled_back",
        "refused",
    ]
    Role = Literal["viewer", "operator"]
    Ruling = Literal["pass", "fail", "inconclusive"]
    Server = Literal["serving", "canary"]
    Tier = Literal["hot", "warm", "cold", "auto"]
    Warmth = Literal["disk", "page_cache", "cpu", "loaded", "warmed"]
else:
    Approval = str
    Basis = str
    CarState = str
    Copies = str
    EventName = str
    FaultKind = str
    Heat = str
    Hold = str
    Isolation = str
    LatencyBasis = str
    Mode = str
    OnDrift = str
    OperationKind = str
    Outputs = str
    Profile = str
    Ranking = str
    ReleaseState = str
    Role = str
    Ruling = str
    Server = str
    Tier = str
    Warmth = str


class ActionBody(Body):
    """One thing to record or to do. `numbers` is what was weighed, with units in the names."""

    model: str | None = None
    server: Server | None = None
    reason: str
    numbers: dict[str, float] = Field(default_factory=dict)
    action: str


class AgreementBody(Body):
    """One output. `agreeing` requests are within the manifest's tolerance.

    `largest_error` is scaled, and null where more than numbers differs. `same_top` is the share
    of vectors whose largest element is at the same place; null where there are no vectors.
    """

    requests: int
    agreeing: int
    largest_error: float | None
    reason: str | None
    same_top: float | None


class Alive(Body):
    status: Literal["alive"] = "alive"


class EntryBody(Body):
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
    detail: dict[str, str | int | float]


class AuditPage(Page):
    entries: tuple[EntryBody, ...]


class BlockedBody(Body):
    """`is_final`: nothing of what is in the way is so for a moment only."""

    model: str
    device: str
    needed_bytes: int
    free_bytes: int
    evictable_bytes: int
    blocked_by: tuple[str, ...]
    is_final: bool
    reason: str


class BytesBody(Body):
    device: str
    bytes: int
    basis: Basis


class CallerBody(Body):
    """Who the token belongs to. A `viewer` reads; an `operator` may do everything."""

    name: str
    role: Role


class CarBody(Body):
    """`release` is null until it has begun; `note` is how it ended, or why there was none.

    `base` is the version that served, and null where none ever has: such a car may fail, and the
    train goes on.
    """

    model: str
    version: int
    base: int | None
    state: CarState
    release: str | None
    note: str | None


class ChoiceBody(Body):
    """`cold_start_s_per_hour` is what requests would wait if it were not held."""

    model: str
    needed: dict[str, int]
    score: float
    cold_start_s_per_hour: float
    reason: str


class SideBody(Body):
    """One server's part of a comparison; `median_ms` is of its latest answers."""

    version: int
    answers: int
    failures: int
    failure: str | None
    median_ms: float | None


class ComparisonBody(Body):
    """What serving and canary made of the same sampled requests.

    `compared` were answered by both, `agreeing` with every output within its tolerance. `missed`
    are samples that could not be compared, by why.
    """

    serving: SideBody
    canary: SideBody
    compared: int
    agreeing: int
    outputs: dict[str, AgreementBody]
    missed: dict[str, int]
    unreadable: str | None


class ControlBody(Body):
    """What the sidecar does with what it sees; `since` and `actor` are null until it was set."""

    mode: Mode
    profile: Profile
    since: datetime | None
    actor: str | None


class ReloadBody(Body):
    read_s: float
    load_s: float
    warm_up_s: float
    seconds: float


class CostBody(Body):
    """What the version holds and takes to load; `loads` is from how many real loads it is known.

    `counted_s` is what `acceptable_s` does not forgive of the reload as it would be now.
    """

    version: int
    loads: int
    reload: ReloadBody
    acceptable_s: float
    counted_s: float
    needed: tuple[BytesBody, ...]
    held: tuple[BytesBody, ...]


class CurveBody(Body):
    """Warm-up of one shape after the newest load; `sparkline` falls as the latency did."""

    shape: str
    runs: int
    first_ms: float
    steady_ms: float
    steady: bool
    seconds: float
    sparkline: str


class DemandBody(Body):
    """How often a model is asked for: `per_hour` over about each of these times.

    `expected_per_hour` is what the score counts with; `next_at` is when a regular model is
    due; `by_hour` counts by hour of the day, UTC.
    """

    requests: int
    first_at: datetime
    last_at: datetime
    per_hour: dict[str, float]
    expected_per_hour: float
    next_at: datetime | None
    by_hour: tuple[int, ...]


class HolderBody(Body):
    server: Server
    model: str
    bytes: int
    basis: Basis
    hold: Hold


class DeviceBody(Body):
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
    holders: tuple[HolderBody, ...]


class DeviceList(Body):
    """All devices. `advice` is empty while all is well.

    `price`: cold-start seconds that one GiB-hour is worth. `shadow_price`: about what one more
    GiB would save, in seconds of waiting per hour; null before the first eviction.
    """

    devices: tuple[DeviceBody, ...]
    meter_problem: str | None
    headroom: float
    price: float
    shadow_price: float | None
    advice: tuple[str, ...]


class EnsuredBody(Body):
    """The model answers now. `outcome` is how it was found; `joined`: another request waited."""

    model: str
    outcome: Heat
    waited_s: float


class EvidenceBody(Body):
    """One check. `numbers` have their units in their names, and are null where infinite."""

    check: str
    ruling: Ruling
    note: str
    numbers: dict[str, float | None]


class ForecastBody(Body):
    """What leaving after the idle timeout comes to, and what staying always would add.

    `value` is cold-start seconds saved for each GiB-hour added.
    """

    cold_starts_per_hour: float
    held_share: float
    always_saves_s_per_hour: float
    always_costs_gib: float
    value: float
    is_worth_it: bool


class IdleBody(Body):
    """Null: never; `forecast` null: not told before a day of requests."""

    timeout_s: float | None
    let_go_at: datetime | None
    break_even_per_hour: float | None
    forecast: ForecastBody | None
    advice: str


class VictimBody(Body):
    model: str
    score: float
    freed_bytes: int
    reason: str


class LoadBody(Body):
    """What a request would set off now. `on_cpu`: its GPU is full, it would serve on the CPU."""

    victims: tuple[VictimBody, ...]
    blocked: BlockedBody | None
    on_cpu: bool


class TrafficBody(Body):
    """Requests for inference that the gateway has answered since it was started.

    `by_code` has HTTP codes, and `grpc:` with those of gRPC. `by_outcome` tells `hit` from `cold`
    and `joined`. The percentiles are of lately, and null when nothing was asked.
    """

    requests: int
    by_code: dict[str, int]
    by_outcome: dict[str, int]
    p50_ms: float | None
    p99_ms: float | None
    open_streams: int


class ModelBody(Body):
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
    ready_versions: tuple[int, ...]
    versions: tuple[int, ...]
    rejected_versions: dict[int, str]
    pending_version: int | None
    release: str | None
    requests_per_hour: float
    requests_by_hour: tuple[int, ...]
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


class QuarantineBody(Body):
    """`until` null: until a person ends it, or a newer version is there."""

    since: datetime
    until: datetime | None
    times: int
    kind: FaultKind
    reason: str


class ExplanationBody(Body):
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
    curves: tuple[CurveBody, ...]


class Flaw(Body):
    """`pointer` is a JSON pointer into the request: `/body/version`, `/query/page_size`."""

    pointer: str
    detail: str


class RoutedReplica(Body):
    """One Triton behind the gateway, and for how many models it answers."""

    name: str
    http: str
    grpc: str
    joined: bool
    models: int


class GatewayBody(Body):
    """`http` and `grpc` are where clients connect.

    `routed` is whether the gateway has taken up what it was told; `problem` why not. `replicas`
    are those that it sends requests to, `routed_models` the models that one of them answers for.
    Requests are counted since it was started. `waiting` is how many requests wait now, by model.
    """

    http: str
    grpc: str
    routed: bool
    problem: str | None
    replicas: tuple[RoutedReplica, ...]
    routed_models: int
    requests: int
    by_outcome: dict[str, int]
    open_streams: int
    waiting: dict[str, int]


class GatewayState(Body):
    """`gateway` is null where clients speak to Triton itself."""

    gateway: GatewayBody | None


class ReadingBody(Body):
    """`seconds` since the trial began, and `requests` until then."""

    seconds: float
    held_bytes: int
    requests: int


class MemoryBody(Body):
    """`declared_bytes` is the manifest's figure for the new version alone."""

    declared_bytes: int
    readings: tuple[ReadingBody, ...]


class OutputBody(Body):
    """`errors` are the latest scaled ones, without those of the `not_comparable` answers.

    `rows` is how many vectors `same_top` is about. `tolerance` is the manifest's for these errors;
    null where that cannot be read any more.
    """

    requests: int
    agreeing: int
    largest_error: float | None
    reason: str | None
    same_top: float | None
    rows: int
    tolerance: float | None
    not_comparable: int
    errors: tuple[float, ...]


class PairBody(Body):
    base_ms: float
    version_ms: float


class RaceBody(Body):
    """Requests of one shape, each asked of both versions; `latest` are the last pairs.

    `slower` are pairs in which the new version took longer than the margin allows, `far_slower`
    those in which it took more than twice as long.
    """

    pairs: int
    slower: int
    far_slower: int
    latest: tuple[PairBody, ...]


class ServedBody(Body):
    """Requests of clients that a version answered, and those that it failed, during the trial."""

    succeeded: int
    failed: int


class TrialBody(Body):
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


class GatheredBody(Body):
    """All that a release has gathered: `compare` on canary, `guard` under clients' requests.

    Both are null where the release did not come so far, or had nothing to compare.
    """

    release: str
    compare: TrialBody | None
    guard: TrialBody | None


class HealthCheck(Body):
    name: str
    ok: bool
    detail: str


class IntentBody(Body):
    """How a model is to be treated; see the settings."""

    tier: Tier
    pin: bool
    priority: int
    idle_timeout_s: float | None
    acceptable_cold_start_s: float


class ModelList(Page):
    models: tuple[ModelBody, ...]


class OperationBody(Body):
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


class OperationList(Page):
    operations: tuple[OperationBody, ...]


class SpaceBody(Body):
    device: str
    budget_bytes: int
    held_bytes: int
    one_more_gib_saves_s_per_hour: float


class OutlookBody(Body):
    """Who would be held, the most urgent first; `too_small`: what must be loaded and cannot."""

    held: tuple[ChoiceBody, ...]
    left_out: tuple[ChoiceBody, ...]
    devices: tuple[SpaceBody, ...]
    cold_start_s_per_hour: float
    too_small: tuple[str, ...]


class PlanBody(Body):
    """What was decided at the last look: first all `notes` are recorded, then `work` begins."""

    notes: tuple[ActionBody, ...]
    work: tuple[ActionBody, ...]
    blocked: tuple[BlockedBody, ...]
    wake_at: datetime | None


class PolicyBody(Body):
    """What decides which models stay loaded; see the settings."""

    budgets: dict[str, int]
    headroom: float
    price: float
    ranking: Ranking
    prewarm: bool
    cpu_while_full: bool
    on_drift: OnDrift
    soak_s: float
    parallel_loads: int
    profile: Profile


class ProblemBody(Body):
    """Body of every error. `code` is for programs; `detail` is never to be parsed."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    instance: str
    request_id: str | None = None
    trace_id: str | None = None
    errors: tuple[Flaw, ...] | None = None
    role: str | None = None
    version: str | None = None
    retry_after_s: float | None = None
    rejected_by: str | None = None
    until: datetime | None = None
    device: str | None = None
    needed_bytes: int | None = None
    budget_bytes: int | None = None
    free_bytes: int | None = None
    evictable_bytes: int | None = None
    blocked_by: tuple[str, ...] | None = None


class Readiness(Body):
    """`missing` says, one sentence each, what keeps the sidecar from being ready.

    `checks`, on request, is everything that was looked at. Not all of it is needed: a canary
    that is away, for one, keeps nobody from being served.
    """

    ready: bool
    missing: tuple[str, ...]
    checks: tuple[HealthCheck, ...] | None = None


class Recording(Body):
    """What operators say of it; until then only what is handed over by REST is kept.

    `percent` is the share of the model's requests that the gateway copies to us, `most` how many
    are kept: the newest. Of inputs in `redact` only the shape is kept, never a value.
    """

    percent: int = 0
    most: int = 200
    redact: tuple[str, ...] = ()


class RecordingBody(Tagged):
    """`said` is what was asked for. `copied` is the percentage that the gateway copies to us now.

    `requests` are kept, in `bytes` bytes together. `dropped` are copies that are not, by why, since
    the sidecar began; `reason` has more about the last one.
    """

    model: str
    said: Recording
    copied: int
    requests: int
    bytes: int
    dropped: dict[str, int]
    reason: str | None


class SoakBody(Body):
    """How long both versions have been watched, of how long; `progress` is from 0 to 1.

    While requests are shifted, it is about the present share.
    """

    watched_s: float
    soak_s: float
    progress: float


class StepBody(Body):
    """A state, or a remark on it. `seconds` is how long it took until the next; null for the last.

    `evidence` is what brought the release there. `actor` is who asked for it, and `operation` by
    which request; both are null for what the sidecar did by itself.
    """

    state: ReleaseState
    at: datetime
    seconds: float | None
    note: str
    evidence: tuple[EvidenceBody, ...]
    actor: str | None
    operation: str | None


class Strategy(Body):
    """Of one release. The defaults prove everything, and ask nobody.

    `shift`: percentages of the requests that the new version gets first, each for `bake_s`
    seconds, before it gets all of them; requests with the same value of the header
    `sticky_header` meet the same version then. Needs the gateway.
    `soak_s`: how long both versions stay after that; None is what the settings say.
    `latency_margin`: how much slower than the old version it may be, as a share: 0.2 is a fifth;
    None does not compare. `least_agreement`, where outputs are to be alike: of vectors, whose
    largest element must be at the same place; of pairs of single scores, which must be in the same
    order. `longest_comparison_s`: after that, a comparison without a clear end asks a person.
    """

    approval: Approval = "automatic"
    copies: Copies = "both"
    shift: tuple[int, ...] = ()
    bake_s: float = 60.0
    sticky_header: str | None = None
    soak_s: float | None = None
    outputs: Outputs = "alike"
    latency_margin: float | None = 0.2
    least_agreement: float = 0.8
    longest_comparison_s: float = 60.0


class ReleaseBody(Body):
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
    steps: tuple[StepBody, ...]


class ReleaseList(Page):
    releases: tuple[ReleaseBody, ...]


class ReleaseRequest(Body):
    """Which version is to get the traffic, and how: a positive integer without leading zeros.

    With `supersede`, a release of the model that goes on is aborted first.
    """

    version: int
    strategy: Strategy = Field(default_factory=Strategy)
    supersede: bool = False


class ReplicaBody(Body):
    """`models` maps each to its versions; `free_bytes` is what the largest device can be given."""

    models: dict[str, tuple[int, ...]]
    stateful: tuple[str, ...]
    joined: bool
    free_bytes: int


class Spec(Body):
    """Overrides of a model's intent; null leaves to the settings file and the store."""

    tier: Tier | None = None
    pin: bool | None = None
    priority: int | None = None
    idle_timeout_s: float | None = None
    acceptable_cold_start_s: float | None = None


class SpecBody(Tagged):
    """`overrides` is what was said here; null leaves to the settings file and the store.

    `effective` is what holds, all three together; `warnings` is what comes of it for others.
    """

    model: str
    overrides: Spec
    effective: IntentBody
    warnings: tuple[str, ...]


class Startup(Body):
    started: bool
    detail: str


class Steering(Body):
    """Of requests that name no version; the others get what they name.

    `weights` shares them among versions: `{1: 95, 2: 5}`. Requests with the same value of the
    header `sticky_header` meet the same version. `mirror` is the percentage of which the canary
    server gets a copy; its answers are thrown away. `sample` is the percentage that both versions
    are asked once more, one request at a time, to compare what they answer.
    """

    weights: dict[int, int] = Field(default_factory=dict)
    sticky_header: str | None = None
    mirror: int = 0
    sample: int = 0


class VersionTraffic(Body):
    """Of one version, and its share of the model's requests.

    `version` is null for requests that named none and were not shared among versions: they met
    the one that serves.
    """

    version: int | None
    requests: int
    percentage: float


class SteeringBody(Tagged):
    """`said` is what was asked for; without a change each request meets the serving version.

    `effective` is what the gateway does: of the versions, those that answer; no mirror or sample
    unless canary holds the model. It follows what was said within moments, and is null until
    the gateway has taken up routes. `not_loaded` are versions with a weight that get no request
    until a release has loaded them beside the one that serves. `comparison` is null before the
    first sample.
    """

    model: str
    said: Steering
    effective: Steering | None
    not_loaded: tuple[int, ...]
    versions: tuple[VersionTraffic, ...]
    comparison: ComparisonBody | None


class TrainBody(Body):
    """Poll `location` until `done`. `stopped` is why nothing more is begun; null while it is.

    `cars` are in the order in which they are released.
    """

    id: str
    location: str
    actor: str
    created_at: datetime
    finished_at: datetime | None
    done: bool
    stopped: str | None
    at_once: int
    strategy: Strategy
    cars: tuple[CarBody, ...]


class TrainList(Page):
    trains: tuple[TrainBody, ...]


class TrainRequest(Body):
    """Null `models` are all that have a newer version than the one that serves.

    With `unserved`, models that have never served are taken too: the newest version of each is
    proven and recorded as the one that serves, so that its first request waits for a load alone.
    `at_once` is how many of the train's releases may go on at a time; each waits for memory
    besides.
    """

    models: tuple[str, ...] | None = None
    strategy: Strategy = Field(default_factory=Strategy)
    at_once: int = 1
    unserved: bool = False


class WhatIfBody(Body):
    """The present budget and the other one, in a steady picture."""

    summary: str
    now: OutlookBody
    then: OutlookBody


class WhatIfRequest(Body):
    """Other budgets, headroom included, and models that would have to be loaded."""

    budgets: dict[str, str | int] = Field(default_factory=dict)
    load: tuple[str, ...] = ()
