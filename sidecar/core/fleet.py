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
    """`parts` are derived: of an ensemble the models of its steps in any version."""

    name: str
    intent: Intent
    versions: Mapping[int, StoredVersion]
    parts: frozenset[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", frozenset(self.composing(*self.versions)))

    @property
    def tier(self) -> Tier:
        return self.intent.tier

    @property
    def newest(self) -> int:
        return max(self.versions)

    def composing(self, *versions: int | None) -> set[str]:
        """Of an ensemble the models of its steps, in any of these versions that there are."""
        found: set[str] = set()
        for version in versions:
            if version is not None and version in self.versions:
                found.update(self.versions[version].manifest.composing or ())
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """Versions that answered a probe rightly, and the config that was staged then."""

    versions: frozenset[int]
    config: str


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What a Triton says of itself: its version such as `2.51.0`, and whether it is ready.

    In strict mode it is not while anything loads, and never again after a failed load.
    """

    version: str
    is_ready: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StageProblem:
    """Why a server can load nothing new from its stage; `blinds`: nor what is there already."""

    reason: str
    blinds: bool

    def __str__(self) -> str:
        return self.reason


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerView:
    """One server as last seen.

    `problem` is why it cannot be used, else None; `is_away` when it did not answer at all.
    `stage_problem` is what is wrong with its stage. `index` maps model to version to state and
    leaves out what was never loaded. `staged` maps model to the text of the staged config.
    `verified` holds only versions that have been READY ever since. `about` is what the server said
    of itself. It answers without a break since `found_at_s`.
    """

    problem: str | None = None
    is_away: bool = False
    stage_problem: StageProblem | None = None
    index: Mapping[str, Mapping[int, VersionState]] = field(default_factory=dict)
    staged: Mapping[str, str] = field(default_factory=dict)
    verified: Mapping[str, Verification] = field(default_factory=dict)
    about: About | None = None
    found_at_s: float = 0.0

    def ready(self, model: str) -> frozenset[int]:
        return ready_versions(self.index.get(model, {}))

    def answers(self, model: str) -> frozenset[int]:
        """Versions that are loaded, warmed and probed."""
        verified = self.verified.get(model)
        return self.ready(model) & verified.versions if verified else frozenset()

    def is_unloaded(self, model: str) -> bool:
        """Whether none of the model's versions is there, or on its way in or out."""
        states = self.index.get(model, {})
        return all(state is VersionState.UNAVAILABLE for state in states.values())


def ready_versions(states: Mapping[int, VersionState]) -> frozenset[int]:
    return frozenset(v for v, state in states.items() if state is VersionState.READY)


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

    `paused`: nothing new. `draining`: nothing new, and it is not ready, until the sidecar ends.
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
    means that nothing came of it: the server did not answer, or a disk let no file through.
    `blameless` says that the version is not at fault: memory has no room, a disk stood in the way,
    or a bug of ours.
    """

    reason: str
    lost: bool
    attempts: int
    at_s: float
    config: str
    blameless: bool = False


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
    traffic. `troubles` are what else is wrong, by what it is about. With `sees_gpus` the readings
    tell which GPUs the serving server has. `ensembles` is derived: by model those that have it
    among their steps in any version.
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
    troubles: Mapping[str, str] = field(default_factory=dict)
    sees_gpus: bool = False
    leaked_bytes: int = 0
    watched_since_s: float = 0.0
    prewarmed_at_s: float = 0.0
    unloaded_at_s: float = 0.0
    ensembles: Mapping[str, tuple[str, ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "ensembles", _ensembles(self.models))

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
        return self.is_wanted_itself(model) or bool(self.needed_by(model))

    def is_wanted_itself(self, model: str) -> bool:
        """Whether the serving server is to hold the model, whatever ensembles need."""
        return model in self.kept or self.is_asked_for(model) or self.is_hot(model)

    def needed_by(self, model: str) -> tuple[str, ...]:
        """Ensembles that cannot be on the serving server without the model, and are to be there.

        One that is being released needs what has never served, and where canary shares the server
        all its models.
        """
        for_release = self.shadows or model not in self.serving
        return tuple(
            ensemble
            for ensemble in self.ensembles.get(model, ())
            if model in self.composing(ensemble)
            and (
                self.is_wanted_itself(ensemble)
                or (for_release and self.active_release(ensemble) is not None)
            )
        )

    def composing(self, model: str) -> tuple[str, ...]:
        """Of an ensemble the models of its steps, in the versions that serve or are released."""
        stored = self.models.get(model)
        if stored is None or not stored.parts:
            return ()
        release = self.active_release(model)
        released = (release.base, release.version) if release else ()
        return tuple(sorted(stored.composing(self.serving.get(model, stored.newest), *released)))

    def active_release(self, model: str) -> Release | None:
        release = self.releases.get(model)
        return release if release is not None and release.is_active else None


def _ensembles(models: Mapping[str, StoredModel]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for name in [name for name, stored in models.items() if stored.parts]:
        for part in models[name].parts:
            found[part] = (*found.get(part, ()), name)
    return found
