"""A release train: many models, one release each.

The first failure of a model that serves stops the rest.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from sidecar.core.strategy import DEFAULT_STRATEGY, Strategy


class CarState(StrEnum):
    """How far a train is with one of its models.

    `waiting` in a train that has ended: it was stopped before this one's turn came.
    """

    WAITING = "waiting"
    GOING = "going"
    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Car:
    """One model of a train. `base` is the version that served when the train was made up.

    What was said of the two versions holds for no others, so a model that serves another one
    when its turn comes is skipped. None: the model had never served. `release` is its release,
    once that has begun; `note` is how the release ended, or why there was none.
    """

    model: str
    version: int
    base: int | None
    state: CarState = CarState.WAITING
    release: str | None = None
    note: str | None = None

    @property
    def stops(self) -> bool:
        """Whether the train ends with it: what has never served takes no traffic by failing."""
        return self.state is CarState.FAILED and self.base is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Train:
    """Releases of several models, at most `at_once` of them at a time, all by one strategy.

    `stopped` is why nothing more is begun: what failed, or who asked. Releases that go on
    then end by themselves, and the train with the last of them.
    """

    id: str
    actor: str
    at_s: float
    cars: tuple[Car, ...]
    strategy: Strategy = DEFAULT_STRATEGY
    at_once: int = 1
    stopped: str | None = None
    finished_at_s: float | None = None

    @property
    def is_over(self) -> bool:
        return self.finished_at_s is not None

    def release_of(self, car: Car) -> str:
        """What the release of one of its cars is called, also before it has begun.

        The release is recorded before the train says so; by its name it is known again when a
        crash comes in between, and is not begun twice.
        """
        return f"{car.model}.{car.version}.train-{self.id}"

    def counted(self, state: CarState) -> int:
        return sum(1 for car in self.cars if car.state is state)

    def stop(self, reason: str) -> "Train":
        """The first reason stays."""
        return replace(self, stopped=self.stopped or reason)


def train_id(at_s: float) -> str:
    """A name for a train, from the time when somebody asked for it."""
    return f"{int(at_s * 1000):x}"
