"""What the executor can do: a closed union. Each action says why."""

from dataclasses import dataclass

from sidecar.core.fleet import CheckKind, Operation, Server
from sidecar.core.release import Release
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
    """Make a server hold nothing of a model: unload, wait until it is gone, clear the stage."""

    server: Server
    model: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """Gather evidence for a release; `config` is what canary holds meanwhile, if anything."""

    kind: CheckKind
    release: Release
    config: str
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Settle:
    """Record that an operation has ended."""

    operation: Operation


Work = Ensure | Remove | Check
Note = SaveRelease | SaveServing | Settle


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Either notes or work: what is known is recorded before anything is done about it.

    `wake_at_s` is the next time at which the plan may change without a cause from outside.
    """

    notes: tuple[Note, ...] = ()
    work: tuple[Work, ...] = ()
    wake_at_s: float | None = None
