"""What there is: models in the store, what the servers hold, what people want."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from contract.intent import Intent, Tier
from contract.manifest import Excerpt
from sidecar.core.demand import Demand
from sidecar.core.faults import FaultKind, remedy
from sidecar.core.learned import Learned
from sidecar.core.memory import Device, Reading
from sidecar.core.pressure import Pressure
from sidecar.core.recording import Recording
from sidecar.core.release import Release
from sidecar.core.steering import Steering
from sidecar.core.traffic import Traffic
from sidecar.core.train import Train
from sidecar.core.trial import Trial
from sidecar.core.verdict import Evidence


class Server(StrEnum):
    """The Triton servers under control.

    `serving` takes traffic. `canary` is the test instance: no version meets `serving`
    before it has been proven here.
    """

    SERVING = "serving"
    CANARY = "canary"


class VersionState(StrEnum):
    """State of a version as Triton's repository index says it."""

    READY = "READY"
    LOADING = "LOADING"
    UNLOADING = "UNLOADING"
    UNAVAILABLE = "UNAVAILABLE"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredVersion:
    manifest: Excerpt
    config: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredModel:
    name: str
    intent: Intent
    versions: Mapping[int, StoredVersion]

    @property
    def tier(self) -> Tier:
        return self.intent.tier

    @property
    def newest(self) -> int:
        return max(self.versions)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """Versions that answered a probe rightly, and the config that was staged then."""

    versions: frozenset[int]
    config: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerView:
    """One server as last seen.

    `problem` is why it cannot be used, else None. `index` maps model to version to state
    and leaves out what was never loaded. `staged` maps model to the text of the staged
    config. `verified` holds only versions that have been READY ever since.
    """

    problem: str | None = None
    index: Mapping[str, Mapping[int, VersionState]] = field(default_factory=dict)
    staged: Mapping[str, str] = field(default_factory=dict)
    verified: Mapping[str, Verification] = field(default_factory=dict)

    def ready(self, model: str) -> frozenset[int]:
        states = self.index.get(model, {})
        return frozenset(v for v, state in states.items() if state is VersionState.READY)

    def answers(self, model: str) -> frozenset[int]:
        """Versions that are loaded, warmed and probed."""
        verified = self.verified.get(model)
        return self.ready(model) & verified.versions if verified else frozenset()

    def is_unloaded(self, model: str) -> bool:
        """Whether none of the model's versions is there, or on its way in or out."""
        states = self.index.get(model, {})
        return all(state is VersionState.UNAVAILABLE for state in states.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    """What people asked for over REST; the tier's rule holds where they did not."""

    loaded: bool
    requested_at_s: float


class Profile(StrEnum):
    """`production` keeps hot models loaded; `development` treats them as `auto`."""

    PRODUCTION = "production"
    DEVELOPMENT = "development"


class DriftKind(StrEnum):
    LOADED = "loaded"
    UNLOADED = "unloaded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """These versions of a model came or went on the serving server, and not through us."""

    kind: DriftKind
    versions: tuple[int, ...]


class Mode(StrEnum):
    """What the sidecar does with what it sees.

    `paused`: nothing new. `draining`: nothing new, and it is not ready.
    """

    RUNNING = "running"
    PAUSED = "paused"
    DRAINING = "draining"


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """The mode that somebody has set, and since when; `running` since ever at first."""

    mode: Mode = Mode.RUNNING
    since_s: float | None = None
    actor: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A model that the planner has decided to keep loaded, and why.

    `waited_for`: somebody waited for it then. `on_cpu`: on the CPU for now, because its GPU is
    full.
    """

    since_s: float
    reason: str
    waited_for: bool = False
    on_cpu: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Departure:
    """When and why a model was last let go; `evicted`: for another one."""

    at_s: float
    reason: str
    evicted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantine:
    """A model that is not loaded for a while, because loading it failed too often.

    `until_s` None: until a person clears it, or a newer version than `newest` is there.
    `times` is how often in a row; `kind` and `reason` speak of the last failure.
    """

    since_s: float
    until_s: float | None
    times: int
    newest: int
    kind: FaultKind
    reason: str

    def __str__(self) -> str:
        """What went wrong, and what can be done about it."""
        return f"it could not be loaded: {self.reason.rstrip(' ;')}; {remedy(self.kind)}"

    def holds(self, now_s: float) -> bool:
        """Not when it began in the future: the clock was set back since."""
        return self.until_s is None or self.since_s <= now_s < self.until_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """The last thing that went wrong for a model on a server.

    `config` is what was attempted, empty for a removal: a failure speaks only of that. `lost`
    means that the server did not answer, `for_room` that memory has none: neither says anything
    about the model.
    """

    reason: str
    lost: bool
    attempts: int
    at_s: float
    config: str
    for_room: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Result of a check for a release."""

    passed: bool
    note: str
    evidence: tuple[Evidence, ...] = ()


class OperationKind(StrEnum):
    LOAD = "load"
    UNLOAD = "unload"
    RELEASE = "release"
    ROLLBACK = "rollback"
    PROMOTE = "promote"
    PAUSE = "pause"
    RESUME = "resume"
    ABORT = "abort"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """A long action that somebody asked for; `error` is set when it ended without success."""

    id: str
    kind: OperationKind
    model: str
    actor: str
    created_at_s: float
    release_id: str | None = None
    finished_at_s: float | None = None
    error: str | None = None


class CheckKind(StrEnum):
    """`compare` and `guard` come in rounds, until their `Trial` says enough."""

    FILES = "files"
    GOLDEN = "golden"
    MEASURE = "measure"
    COMPARE = "compare"
    GUARD = "guard"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """Why a version is not released again as it is."""

    at_s: float
    release: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Everything that a decision may look at, taken at one time.

    `serving` is the recorded version per model: the one that unversioned traffic is to
    meet. `kept` holds the models that the planner keeps loaded, `waiting` those that somebody
    waits for, and since when. `busy` holds the (server, model) pairs and `checking` the release
    ids on which something is being done right now. `learned` is keyed by model and version.
    `departures` is how models were last let go since the sidecar began, `leaving` those that
    the serving server is being rid of. `aged` is the score of
    the last victim when each model was last asked for. `cached` holds the models whose files
    are in the page cache. `drift` is what somebody else has just done to the serving server.
    `leaked_bytes` is what failed loads did not give back to it. Since `watched_since_s` requests
    are counted without a break. `prewarmed_at_s` is when voluntary loads were last considered,
    `unloaded_at_s` when an unload on the serving server last ended. `steering` is what was said
    of where requests go, `recording` which of them are kept, `traffic` what the gateway has counted
    of them, and `routed` the weights by which it shares them now: 0 of all that it may name
    while that is not known. `trials` are by release and kind
    of check, `rejected` by model and version, `trains` by id until they have ended. With `shadows`
    canary is no server of its own: what it holds are shadows on the serving one, which takes
    traffic.
    """

    models: Mapping[str, StoredModel]
    servers: Mapping[Server, ServerView]
    desired: Mapping[str, Desired] = field(default_factory=dict)
    serving: Mapping[str, int] = field(default_factory=dict)
    releases: Mapping[str, Release] = field(default_factory=dict)
    operations: tuple[Operation, ...] = ()
    busy: frozenset[tuple[Server, str]] = frozenset()
    checking: frozenset[str] = frozenset()
    failures: Mapping[tuple[Server, str], Failure] = field(default_factory=dict)
    outcomes: Mapping[tuple[str, CheckKind], Outcome] = field(default_factory=dict)
    store_problems: tuple[str, ...] = ()
    profile: Profile = Profile.PRODUCTION
    mode: Mode = Mode.RUNNING
    kept: Mapping[str, Kept] = field(default_factory=dict)
    waiting: Mapping[str, float] = field(default_factory=dict)
    demand: Mapping[str, Demand] = field(default_factory=dict)
    learned: Mapping[tuple[str, int], Learned] = field(default_factory=dict)
    quarantine: Mapping[str, Quarantine] = field(default_factory=dict)
    readings: Mapping[Device, Reading] = field(default_factory=dict)
    meter_problem: str | None = None
    departures: Mapping[str, Departure] = field(default_factory=dict)
    leaving: frozenset[str] = frozenset()
    aged: Mapping[str, float] = field(default_factory=dict)
    cached: frozenset[str] = frozenset()
    drift: Mapping[str, Drift] = field(default_factory=dict)
    steering: Mapping[str, Steering] = field(default_factory=dict)
    recording: Mapping[str, Recording] = field(default_factory=dict)
    traffic: Mapping[str, Traffic] = field(default_factory=dict)
    routed: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    trials: Mapping[tuple[str, CheckKind], Trial] = field(default_factory=dict)
    rejected: Mapping[tuple[str, int], Rejection] = field(default_factory=dict)
    trains: Mapping[str, Train] = field(default_factory=dict)
    pressure: Pressure = field(default_factory=Pressure)
    shadows: bool = False
    leaked_bytes: int = 0
    watched_since_s: float = 0.0
    prewarmed_at_s: float = 0.0
    unloaded_at_s: float = 0.0

    def is_hot(self, model: str) -> bool:
        """Whether readiness waits for the model."""
        stored = self.models.get(model)
        is_production = self.profile is Profile.PRODUCTION
        return is_production and stored is not None and stored.tier is Tier.HOT

    def hot_models(self) -> set[str]:
        """All for which `is_hot` holds: asked of a whole fleet, several times a second."""
        if self.profile is not Profile.PRODUCTION:
            return set()
        return {name for name, stored in self.models.items() if stored.intent.tier is Tier.HOT}

    def is_asked_for(self, model: str) -> bool:
        desired = self.desired.get(model)
        return desired is not None and desired.loaded

    def is_wanted(self, model: str) -> bool:
        """Whether the serving server is to hold the model."""
        if model not in self.models:
            return False
        return model in self.kept or self.is_asked_for(model) or self.is_hot(model)

    def active_release(self, model: str) -> Release | None:
        release = self.releases.get(model)
        return release if release is not None and release.is_active else None
