"""Which models a train takes, and how it goes on from one to the next."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from math import inf

from sidecar.core.ensembles import part_is_missing
from sidecar.core.fleet import Rejection, Server, Snapshot, StoredModel
from sidecar.core.release import Release, ReleaseState, admit
from sidecar.core.train import Car, CarState, Train


def pending(
    stored: StoredModel,
    serving: int | None,
    last: Release | None,
    rejected: Mapping[tuple[str, int], Rejection],
    *,
    unserved: bool = False,
) -> Car | str:
    """What a train would release of a model, or why it takes nothing of it.

    `last` is the model's newest release. What was rolled back is left to a person, who can
    release it by name. With `unserved` a model that has never served is taken.
    """
    name, newest = stored.name, stored.newest
    if serving is None:
        by_itself = "its first version goes by itself when it is wanted, before that by --unserved"
        left = f"{name} has never served; {by_itself}"
        return Car(model=name, version=newest, base=None) if unserved else left
    if serving not in stored.versions:
        return f"{name}: version {serving} serves, and the store does not have it to compare with"
    if newest <= serving:
        return f"{name} serves version {serving}, and the store has none that is newer"
    if (name, newest) in rejected:
        return f"{name}: {_rejected(newest, rejected[name, newest])}"
    if last is not None and (last.version, last.state) == (newest, ReleaseState.ROLLED_BACK):
        return f"{name}: version {newest} was rolled back in release {last.id}"
    return Car(model=name, version=newest, base=serving)


def in_order(cars: Iterable[Car], stored: Mapping[str, StoredModel]) -> tuple[Car, ...]:
    """The same cars, ensembles after the models that they may be made of."""
    return tuple(sorted(cars, key=lambda car: bool(stored[car.model].parts)))


def drive(train: Train, snapshot: Snapshot, now_s: float) -> tuple[Train, tuple[Release, ...]]:
    """The train as far as the snapshot lets it go, and the releases to begin.

    They have to be recorded before the train is.
    """
    if not snapshot.models:
        # An unmounted store says nothing about its models.
        return train, ()
    train = replace(train, cars=tuple(_seen(train, car, snapshot) for car in train.cars))
    for car in train.cars:
        if car.stops:
            train = train.stop(f"{car.model} version {car.version}: {car.note}")
    begun: list[Release] = []
    if train.stopped is None:
        train, begun = _begun(train, snapshot, now_s)
    is_empty = train.stopped is not None or not train.counted(CarState.WAITING)
    if is_empty and not train.counted(CarState.GOING):
        train = replace(train, finished_at_s=now_s)
    return train, tuple(begun)


def _seen(train: Train, car: Car, snapshot: Snapshot) -> Car:
    """The car as its release stands, if it has one."""
    newest = snapshot.releases.get(car.model)
    if newest is not None and newest.id == train.release_of(car):
        return _with_release(car, newest)
    if car.state is CarState.GOING:
        return _followed(car, newest)
    return car


def _with_release(car: Car, release: Release) -> Car:
    if car.state not in (CarState.WAITING, CarState.GOING):
        # How it had ended stays, whatever people do with the version afterwards.
        return car
    if release.is_active:
        return replace(car, state=CarState.GOING, release=release.id)
    # A version that keeps serving because nobody could bring the old one back is no success.
    if release.state is ReleaseState.DONE and not release.turned_round_since(-inf):
        return replace(car, state=CarState.DONE, release=release.id, note=release.reason)
    why = f"{release.state}: {release.reason}"
    return replace(car, state=CarState.FAILED, release=release.id, note=why)


def _followed(car: Car, newest: Release | None) -> Car:
    """The model has another release before the end of this one's was seen."""
    if newest is None:
        return replace(car, state=CarState.FAILED, note="the record of its release is gone")
    if newest.base == car.version:
        note = f"done, and followed by release {newest.id}"
        return replace(car, state=CarState.DONE, note=note)
    return replace(car, state=CarState.FAILED, note=f"release {newest.id} took its place")


def _begun(train: Train, snapshot: Snapshot, now_s: float) -> tuple[Train, list[Release]]:
    """As many more releases as may go on at a time, in the train's order."""
    free = train.at_once - train.counted(CarState.GOING)
    cars: dict[str, Car] = {}
    begun: list[Release] = []
    for car in train.cars:
        after = car
        if car.state is CarState.WAITING and free > 0 and not _awaits_parts(car, cars, snapshot):
            obstacle = _obstacle(car, cars, snapshot, now_s)
            if obstacle is not None:
                after = replace(car, state=CarState.SKIPPED, note=obstacle)
            else:
                release = _release(train, car, now_s)
                after = replace(car, state=CarState.GOING, release=release.id)
                begun.append(release)
                free -= 1
        cars[car.model] = after
    return replace(train, cars=tuple(cars.values())), begun


def _awaits_parts(car: Car, before: Mapping[str, Car], snapshot: Snapshot) -> bool:
    """Whether a model of an ensemble's steps is being released, by this train or otherwise."""
    return any(
        snapshot.active_release(part) is not None
        or (part in before and before[part].state is CarState.GOING)
        for part in _parts(car, snapshot)
    )


def _parts(car: Car, snapshot: Snapshot) -> list[str]:
    """Of an ensemble the models of its steps."""
    stored = snapshot.models.get(car.model)
    return sorted(stored.composing(car.version)) if stored is not None else []


def _obstacle(car: Car, before: Mapping[str, Car], snapshot: Snapshot, now_s: float) -> str | None:
    """Why the model is left alone now that its turn has come, as it had for those `before`."""
    stored = snapshot.models.get(car.model)
    if stored is None or car.version not in stored.versions:
        return f"version {car.version} is no longer in the store"
    rejection = snapshot.rejected.get((car.model, car.version))
    if rejection is not None:
        return _rejected(car.version, rejection)
    active = snapshot.active_release(car.model)
    if active is not None:
        return f"release {active.id} of {active.actor} goes on"
    serving = snapshot.serving.get(car.model)
    if serving == car.version:
        return "it serves already"
    if serving != car.base:
        now = f"version {serving} serves" if serving is not None else "none serves"
        then = f"version {car.base}, for which" if car.base is not None else "none, as when"
        return f"{now}, and no longer {then} it was chosen"
    return None if car.base is not None else _obstacle_to_first(car, before, snapshot, now_s)


def _obstacle_to_first(
    car: Car, before: Mapping[str, Car], snapshot: Snapshot, now_s: float
) -> str | None:
    """Why a model that has never served is left alone."""
    if snapshot.servers[Server.SERVING].ready(car.model):
        return "somebody else has loaded it"
    quarantine = snapshot.quarantine.get(car.model)
    if quarantine is not None and quarantine.newest >= car.version and quarantine.holds(now_s):
        return f"in quarantine: {quarantine}"
    last = snapshot.releases.get(car.model)
    if last is not None and last.version == car.version and last.rejected:
        refused = f"version {car.version} was refused in release {last.id}: {last.reason}"
        return f"{refused.rstrip(' ;')}; release it by name to try again"
    return _obstacle_beneath(car, before, snapshot)


def _obstacle_beneath(car: Car, before: Mapping[str, Car], snapshot: Snapshot) -> str | None:
    """The first model of an ensemble's steps with which it cannot be proven, and why."""
    for part in _parts(car, snapshot):
        if part not in snapshot.models:
            return part_is_missing(part)
        if part not in snapshot.serving:
            seen = before.get(part)
            why = f": {seen.note}" if seen is not None and seen.note else "; release it first"
            return f"{part}, a model of its steps, has not served{why}"
    return None


def _release(train: Train, car: Car, now_s: float) -> Release:
    return admit(
        release_id=train.release_of(car),
        model=car.model,
        version=car.version,
        base=car.base,
        actor=train.actor,
        at_s=now_s,
        strategy=train.strategy,
    )


def _rejected(version: int, rejection: Rejection) -> str:
    return f"version {version} was refused in release {rejection.release}: {rejection.reason}"
