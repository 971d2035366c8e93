"""Release trains: many releases asked for at once, which stop when one of a served model fails."""

from datetime import datetime
from typing import Annotated, Self

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from contract.strict import Strict
from sidecar.api.auth import Authorized
from sidecar.api.idempotency import OncePerKey
from sidecar.api.paging import Paged
from sidecar.api.problems import problems
from sidecar.api.schemas import NextPage, utc, utc_or_none
from sidecar.core.strategy import DEFAULT_STRATEGY, Strategy
from sidecar.core.train import Car, CarState, Train
from sidecar.runtime.trains import Trains


class TrainRequest(Strict):
    """Null `models` are all that have a newer version than the one that serves.

    With `unserved`, models that have never served are taken too: the newest version of each is
    proven and recorded as the one that serves, so that its first request waits for a load alone.
    `at_once` is how many of the train's releases may go on at a time; each waits for memory
    besides.
    """

    models: Annotated[list[str], Field(min_length=1)] | None = None
    strategy: Strategy = DEFAULT_STRATEGY
    at_once: Annotated[int, Field(strict=True, ge=1)] = 1
    unserved: bool = False


class CarBody(BaseModel):
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

    @classmethod
    def of(cls, car: Car) -> Self:
        return cls(
            model=car.model,
            version=car.version,
            base=car.base,
            state=car.state,
            release=car.release and f"/v1/releases/{car.release}",
            note=car.note,
        )


class TrainBody(BaseModel):
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
    cars: list[CarBody]

    @classmethod
    def of(cls, train: Train) -> Self:
        return cls(
            id=train.id,
            location=f"/v1/trains/{train.id}",
            actor=train.actor,
            created_at=utc(train.at_s),
            finished_at=utc_or_none(train.finished_at_s),
            done=train.is_over,
            stopped=train.stopped,
            at_once=train.at_once,
            strategy=train.strategy,
            cars=[CarBody.of(car) for car in train.cars],
        )


class TrainList(NextPage):
    trains: list[TrainBody]


def train_routes(trains: Trains) -> APIRouter:
    router = APIRouter(prefix="/v1/trains", tags=["releases"], route_class=OncePerKey)

    @router.post(
        "",
        summary="Release all that is pending",
        status_code=202,
        responses=problems(
            "unknown_model",
            "nothing_pending",
            "no_gateway",
            "not_alone",
            "stateful_model",
            "signature_changed",
        ),
    )
    async def begin(body: TrainRequest, response: Response, caller: Authorized) -> TrainBody:
        """Release the newest version of each model, one after the other, until one fails.

        A version that was refused or rolled back before is not pending. A model that has never
        served stops nothing: its car says why it failed, or why it was skipped.
        """
        train = await trains.begin(
            body.models,
            actor=caller.name,
            strategy=body.strategy,
            at_once=body.at_once,
            unserved=body.unserved,
        )
        found = TrainBody.of(train)
        response.headers["Location"] = found.location
        response.headers["Retry-After"] = "1"
        return found

    @router.get("", summary="List trains", responses=problems("invalid_page_token"))
    async def list_trains(
        page: Paged,
        done: Annotated[bool | None, Query(description="Ended, or still going on.")] = None,
    ) -> TrainList:
        """Newest first."""
        all_trains = [train for train in await trains.all() if done in (None, train.is_over)]
        found, following = page.cut(all_trains, _age, newest_first=True)
        return TrainList(trains=[TrainBody.of(train) for train in found], next_page_token=following)

    @router.get("/{train_id}", summary="Look at a train", responses=problems("unknown_train"))
    async def get_train(train_id: str) -> TrainBody:
        """How far it is with each model; ended ones stay."""
        return TrainBody.of(await trains.get(train_id))

    @router.post(
        "/{train_id}:stop",
        summary="Stop a train",
        responses=problems("unknown_train", "train_over"),
    )
    async def stop(train_id: str, caller: Authorized) -> TrainBody:
        """Begin nothing more; releases that go on end by themselves."""
        return TrainBody.of(await trains.stop(train_id, actor=caller.name))

    return router


def _age(train: Train) -> str:
    return f"{train.at_s:020.6f} {train.id}"
