"""What there is: models in the store, what the servers hold, what people want."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from contract.intent import Tier
from contract.manifest import Manifest
from sidecar.core.release import Release


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
    manifest: Manifest
    config: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredModel:
    name: str
    tier: Tier
    versions: Mapping[int, StoredVersion]

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """The last thing that went wrong for a model on a server.

    `config` is what was attempted, empty for a removal: a failure speaks only of that. `lost`
    means that the server did not answer, which says nothing about the model.
    """

    reason: str
    lost: bool
    attempts: int
    at_s: float
    config: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Result of a check for a release."""

    passed: bool
    note: str


class OperationKind(StrEnum):
    LOAD = "load"
    UNLOAD = "unload"
    RELEASE = "release"
    ROLLBACK = "rollback"


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
    FILES = "files"
    GOLDEN = "golden"


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Everything that a decision may look at, taken at one time.

    `serving` is the recorded version per model: the one that unversioned traffic is to
    meet. `busy` holds the (server, model) pairs and `checking` the release ids on which
    something is being done right now.
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

    def is_wanted(self, model: str) -> bool:
        """Whether the serving server is to hold the model."""
        stored = self.models.get(model)
        if stored is None:
            return False
        if stored.tier is Tier.HOT:
            return True
        desired = self.desired.get(model)
        return desired is not None and desired.loaded

    def active_release(self, model: str) -> Release | None:
        release = self.releases.get(model)
        return release if release is not None and release.is_active else None
