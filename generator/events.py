"""What a build reports while it runs and when it is done."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class Stage(StrEnum):
    """Where a model is on its way; the last five are ends."""

    EXPORT = "export"
    VERIFY = "verify"
    CONVERT = "convert"
    WAIT = "wait"
    PROBE = "probe"
    DRY_RUN = "dry run"
    PUBLISH = "publish"
    BUILT = "built"
    UNCHANGED = "unchanged"
    FAILED = "failed"
    REPRODUCED = "reproduced"
    DIFFERS = "differs"


@dataclass(frozen=True, slots=True)
class BuildEvent:
    """A model enters a stage, `seconds` after the build began.

    `version` is the recipe's; None where the recipe leaves the number to the build.
    """

    model: str
    version: int | None
    stage: Stage
    seconds: float


@dataclass(frozen=True, slots=True)
class Built:
    """`seconds` per stage; `notes` are what whoever builds should know."""

    model: str
    version: int
    seconds: dict[Stage, float]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Unchanged:
    model: str
    version: int


@dataclass(frozen=True, slots=True)
class Failed:
    """`reason` names the object, the numbers and the remedy; `version` is the recipe's."""

    model: str
    version: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class BuildReport:
    """Every entry of the recipe once, in the recipe's order within each list.

    `warnings` are about the build as a whole.
    """

    built: tuple[Built, ...]
    unchanged: tuple[Unchanged, ...]
    failed: tuple[Failed, ...]
    warnings: tuple[str, ...] = ()


class Progress:
    """Reports the stages of one model and adds up the seconds that each took."""

    def __init__(
        self, model: str, version: int | None, report: Callable[[BuildEvent], None]
    ) -> None:
        self.model = model
        self.version = version
        self.seconds: dict[Stage, float] = {}
        self._report = report
        self._began = self._entered = time.monotonic()
        self._stage: Stage | None = None

    def enter(self, stage: Stage) -> None:
        now = time.monotonic()
        if self._stage:
            self.seconds[self._stage] = now - self._entered
        self._stage, self._entered = stage, now
        self._report(BuildEvent(self.model, self.version, stage, now - self._began))
