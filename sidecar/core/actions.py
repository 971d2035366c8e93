"""What the executor can do: a closed union. Each action says why."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from sidecar.core.fleet import CheckKind, Operation, Quarantine, Rejection, Server
from sidecar.core.memory import Device, shortage
from sidecar.core.release import RESTING, Release
from sidecar.core.train import Train
from sidecar.core.trial import Trial
from sidecar.core.wanted import Placement


@dataclass(frozen=True, slots=True, kw_only=True)
class Ensure:
    """Make a server hold a placement: stage it, load, verify by index, probe each version."""

    server: Server
    model: str
    placement: Placement
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Remove:
    """Make a server hold nothing of a model: unload, wait until it is gone, clear the stage.

    `regardless`: also when somebody asks for the model meanwhile; its release brings it back.
    """

    server: Server
    model: str
    reason: str
    regardless: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """Gather evidence for a release; `config` is what its server holds meanwhile, if anything.

    `trial` is what a check that comes in rounds has gathered until now.
    """

    kind: CheckKind
    release: Release
    config: str
    reason: str
    trial: Trial | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart:
    """End a server, so that it gives back what failed loads have kept."""

    server: Server
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadAhead:
    """Bring a version's files into the page cache, because it may be loaded soon."""

    model: str
    version: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveRelease:
    release: Release


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveServing:
    """Record the version that unversioned traffic is to meet from now on."""

    model: str
    version: int
    reason: str


Numbers = Mapping[str, float]
"""What a decision weighed: name with unit to figure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """Record that a model is to be loaded and to stay, on the CPU if its GPU is full."""

    model: str
    reason: str
    waited_for: bool = False
    on_cpu: bool = False
    numbers: Numbers = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class LetGo:
    """Record that a model need not stay loaded any more.

    `evicted` is whether its memory is for another one; `score` is what holding it was
    worth then, in cold-start seconds avoided per hour per GiB.
    """

    model: str
    reason: str
    evicted: bool = False
    score: float = 0.0
    numbers: Numbers = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SetAside:
    """Record that a model is not to be loaded for a while."""

    model: str
    quarantine: Quarantine


@dataclass(frozen=True, slots=True, kw_only=True)
class Readmit:
    """Record that a model in quarantine may be loaded again.

    `over` is what stays of the quarantine, so that what failed before is not held against it.
    """

    model: str
    reason: str
    over: Quarantine | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settle:
    """Record that an operation has ended."""

    operation: Operation


@dataclass(frozen=True, slots=True, kw_only=True)
class Reject:
    """Record that a version is not to be released again as it is."""

    model: str
    version: int
    rejection: Rejection

    @property
    def reason(self) -> str:
        return self.rejection.reason


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveTrain:
    """Record how far a train is, unless somebody has changed it since it was `before`."""

    before: Train
    after: Train

    @property
    def reason(self) -> str:
        cars = ", ".join(f"{car.model} {car.state}" for car in self.after.cars)
        return f"train {self.after.id}: {self.after.stopped or cars}"


Work = Ensure | Remove | Check | Restart | ReadAhead
Note = SaveRelease | SaveServing | Keep | LetGo | SetAside | Readmit | Settle | Reject | SaveTrain


def saved(release: Release, now_s: float) -> Iterator[Note]:
    """With its end, a release that speaks against its version says so."""
    if release.rejected and release.base is not None and release.state in RESTING:
        rejection = Rejection(at_s=now_s, release=release.id, reason=release.reason)
        yield Reject(model=release.model, version=release.version, rejection=rejection)
    yield SaveRelease(release=release)


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocked:
    """A model that cannot be loaded, because what could be freed on `device` is too little.

    `evictable_bytes` is what the models hold that it could replace; `blocked_by` names the
    others, each with why it stays. `is_final` when none of them is in the way for a moment only.
    """

    model: str
    device: Device
    needed_bytes: int
    free_bytes: int
    evictable_bytes: int
    blocked_by: tuple[str, ...]
    is_final: bool

    def __str__(self) -> str:
        because = f"; in the way: {', '.join(self.blocked_by)}" if self.blocked_by else ""
        lacks = shortage(self.device, self.needed_bytes, self.free_bytes, self.evictable_bytes)
        return f"{self.model} {lacks}{because}; raise the budget, or unload or unpin something"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Either notes or work: what is known is recorded before anything is done about it.

    `blocked` holds what does not fit. `prewarmed` is whether voluntary loads were considered.
    `wake_at_s` is the next time at which the plan may change without a cause from outside.
    """

    notes: tuple[Note, ...] = ()
    work: tuple[Work, ...] = ()
    blocked: Mapping[str, Blocked] = field(default_factory=dict)
    prewarmed: bool = False
    wake_at_s: float | None = None
