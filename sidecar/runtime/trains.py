"""Release trains that people ask for: checked, recorded, and left to the loop."""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

from contract.strict import nearest
from sidecar.core.driving import in_order, pending
from sidecar.core.events import Event, EventDetail, EventName
from sidecar.core.fleet import StoredModel
from sidecar.core.strategy import DEFAULT_STRATEGY, Strategy
from sidecar.core.train import Car, Train, train_id
from sidecar.errors import Conflict, Impossible, StateConflict, UnknownObject
from sidecar.runtime.releases import refuse_shift
from sidecar.runtime.world import World


class Trains:
    """Each method raises a RequestRefused that says why, and then has changed nothing."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._records = world.records

    async def begin(
        self,
        models: Sequence[str] | None = None,
        *,
        actor: str,
        strategy: Strategy = DEFAULT_STRATEGY,
        at_once: int = 1,
        unserved: bool = False,
    ) -> Train:
        """Release the newest version of these models, or of all that have one to release.

        Whoever names models wants each of them: one with nothing to release refuses the train.
        With `unserved`, models that have never served are among them.
        """
        stored, _ = await self._world.store.scan()
        cars = await self._cars(stored, models, unserved=unserved)
        served = [stored[car.model] for car in cars if car.base is not None]
        refuse_shift(strategy, self._world.router, *served)
        await self._refuse_other_signatures(cars)
        now_s = time.time()
        train = Train(
            id=train_id(now_s),
            actor=actor,
            at_s=now_s,
            cars=cars,
            strategy=strategy,
            at_once=at_once,
        )
        await self._records.begin_train(train)
        await self._tell(
            EventName.TRAIN_BEGUN, train, actor, models=", ".join(car.model for car in cars)
        )
        return train

    async def stop(self, id_: str, *, actor: str) -> Train:
        """Begin nothing more of a train; releases that go on end by themselves."""
        while True:
            train = await self.get(id_)
            if train.is_over:
                raise Conflict("train_over", f"train {id_} has ended already")
            if train.stopped is not None:
                return train
            stopped = train.stop(f"{actor} asked for it")
            with suppress(StateConflict):
                await self._records.move_train(train, stopped)
                await self._tell(EventName.TRAIN_STOPPED, train, actor)
                return stopped

    async def get(self, id_: str) -> Train:
        train = await self._records.train(id_)
        if train is None:
            raise UnknownObject("unknown_train", f"no train {id_!r}")
        return train

    async def all(self) -> list[Train]:
        """Those that go on are read first: one that ends meanwhile is found in the archive."""
        going = await self._records.trains()
        return list((going | await self._records.ended_trains()).values())

    async def _cars(
        self,
        stored: Mapping[str, StoredModel],
        models: Sequence[str] | None,
        *,
        unserved: bool,
    ) -> tuple[Car, ...]:
        for model in models or ():
            if model not in stored:
                raise UnknownObject(
                    "unknown_model", f"no model {model!r} in the store; {nearest(model, stored)}"
                )
        wanted = sorted(stored) if models is None else models
        found = await self._pending(stored, wanted, unserved=unserved)
        cars = in_order((each for each in found if isinstance(each, Car)), stored)
        reasons = [each for each in found if isinstance(each, str)]
        if not cars or (models is not None and reasons):
            served = "each has served, and " if unserved else ""
            nothing = (
                f"{served}no model has a newer version that was neither rejected nor rolled back; "
                "`pilotlight train MODEL` says why of one"
            )
            why = "; ".join(reasons) if models is not None else nothing
            raise Conflict("nothing_pending", f"nothing to release: {why}")
        return cars

    async def _pending(
        self, stored: Mapping[str, StoredModel], models: Sequence[str], *, unserved: bool
    ) -> list[Car | str]:
        serving = await self._records.serving()
        releases = await self._records.releases()
        rejected = await self._records.rejected()
        return [
            pending(
                stored[name], serving.get(name), releases.get(name), rejected, unserved=unserved
            )
            for name in dict.fromkeys(models)
        ]

    async def _refuse_other_signatures(self, cars: Sequence[Car]) -> None:
        """Holds until each one's turn: versions never change, and a car names both of its own."""
        store, found = self._world.store, []
        for car in cars:
            if car.base is None:
                continue
            ours = (await store.manifest(car.model, car.base)).signature
            changes = ours.difference((await store.manifest(car.model, car.version)).signature)
            if changes:
                found.append(f"{car.model} version {car.version}: {', '.join(changes)}")
        if found:
            raise Impossible(
                "signature_changed",
                f"clients would have to change: {'; '.join(found)}; publish these as models of "
                "their own, or name the models that the train is to take",
            )

    async def _tell(self, name: EventName, train: Train, actor: str, **detail: EventDetail) -> None:
        event = Event(
            name=name,
            detail={"train": train.id, "actor": actor, **detail},
        )
        await self._world.telemetry.record(event)
