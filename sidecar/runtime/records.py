"""What must survive a restart, as typed objects over the state store.

desired/<model>       what people asked for; written by the API
operation/<kind>/<model>   requests that have not ended; made by the API, ended by the loop
release/<model>       the model's newest release; begun by API or loop, moved by the loop
serving/<model>       the recorded version; written by the loop
kept/<model>          models that are to stay loaded, and why; written by the loop
quarantine/<model>    models that are not loaded for a while; written by the loop, ended by both
demand/<model>        requests so far; written by the loop now and then
learned/<model>/<n>   what loads of a version took; written after each load
spec/<model>          what operators say of a model over REST; written by the API
steering/<model>      where its requests go; written by the API
recording/<model>     which of them are kept, for comparisons; written by the API
evidence/<release>/<kind>  what a check that comes in rounds has gathered; written by the loop
rejected/<model>/<n>  versions that are not released again as they are; ended by the API
train/<id>            trains that go on; begun and stopped by the API, moved by the loop
control               mode of the sidecar; written by the API
archive/...           releases that were followed by another, operations and trains that ended
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from typing import TypeVar, cast

from pydantic import TypeAdapter
from pydantic_core import to_json

from sidecar.core.demand import Demand
from sidecar.core.fleet import (
    CheckKind,
    Control,
    Desired,
    Kept,
    Mode,
    Operation,
    Quarantine,
    Rejection,
)
from sidecar.core.learned import Learned
from sidecar.core.recording import Recording
from sidecar.core.release import Release
from sidecar.core.spec import Spec
from sidecar.core.steering import Steering
from sidecar.core.train import Train
from sidecar.core.trial import Trial
from sidecar.errors import StateConflict
from sidecar.ports import StateStore, Stored

T = TypeVar("T")
Named = TypeVar("Named", Operation, Release)

_DESIRED = TypeAdapter(Desired)
_OPERATION = TypeAdapter(Operation)
_RELEASE = TypeAdapter(Release)
_SERVING = TypeAdapter(int)
_KEPT = TypeAdapter(Kept)
_QUARANTINE = TypeAdapter(Quarantine)
_DEMAND = TypeAdapter(Demand)
_LEARNED = TypeAdapter(Learned)
_CONTROL = TypeAdapter(Control)
_SPEC = TypeAdapter(Spec)
_STEERING = TypeAdapter(Steering)
_RECORDING = TypeAdapter(Recording)
_TRAIN = TypeAdapter(Train)
_TRIAL = TypeAdapter(Trial)
_REJECTION = TypeAdapter(Rejection)


class Records:
    """`begun` are the releases that this process has begun, or has tried to."""

    def __init__(self, state: StateStore) -> None:
        self._state = state
        self.begun: set[str] = set()
        self._parsed: dict[str, tuple[int, object]] = {}
        self._folders: dict[str, tuple[int, dict[str, object]]] = {}

    def watch(self) -> AsyncIterator[int]:
        """Yields after each change of any record; see `StateStore.watch`."""
        return self._state.watch()

    @property
    def problem(self) -> str | None:
        """Why nothing can be recorded, else None."""
        return self._state.problem

    async def touch(self) -> None:
        """Raises StateUnavailable while nothing can be recorded."""
        await self._state.touch()

    async def desired(self) -> dict[str, Desired]:
        return await self._all("desired/", _DESIRED)

    async def serving(self) -> dict[str, int]:
        return await self._all("serving/", _SERVING)

    async def releases(self) -> dict[str, Release]:
        return await self._all("release/", _RELEASE)

    async def operations(self) -> tuple[Operation, ...]:
        return tuple((await self._all("operation/", _OPERATION)).values())

    async def kept(self) -> dict[str, Kept]:
        return await self._all("kept/", _KEPT)

    async def quarantine(self) -> dict[str, Quarantine]:
        return await self._all("quarantine/", _QUARANTINE)

    async def demand(self) -> dict[str, Demand]:
        return await self._all("demand/", _DEMAND)

    async def learned(self) -> dict[tuple[str, int], Learned]:
        found = await self._all("learned/", _LEARNED)
        named = {key.rpartition("/"): learned for key, learned in found.items()}
        return {(model, int(version)): each for (model, _, version), each in named.items()}

    async def trials(self) -> dict[tuple[str, CheckKind], Trial]:
        """Of the newest release of each model."""
        found = await self._all("evidence/", _TRIAL)
        named = {key.rpartition("/"): trial for key, trial in found.items()}
        return {(release, CheckKind(kind)): each for (release, _, kind), each in named.items()}

    async def trials_of(self, release_id: str) -> dict[CheckKind, Trial]:
        """Of any release, also of one that was followed by others."""
        found = {}
        for prefix in ("archive/evidence/", "evidence/"):
            for stored in await self._state.scan(f"{prefix}{release_id}/"):
                kind = CheckKind(stored.key.rpartition("/")[2])
                found[kind] = _TRIAL.validate_json(stored.value)
        return found

    async def rejected(self) -> dict[tuple[str, int], Rejection]:
        found = await self._all("rejected/", _REJECTION)
        named = {key.rpartition("/"): rejection for key, rejection in found.items()}
        return {(model, int(version)): each for (model, _, version), each in named.items()}

    async def control(self) -> Control:
        stored = await self._state.get("control")
        return _CONTROL.validate_json(stored.value) if stored else Control()

    async def mode(self) -> Mode:
        return (await self.control()).mode

    async def specs(self) -> dict[str, Spec]:
        return await self._all("spec/", _SPEC)

    async def spec(self, model: str) -> tuple[Spec, Stored | None]:
        """What was said of a model, and the object that says it."""
        stored = await self._state.get(f"spec/{model}")
        return (self._parse(stored, _SPEC) if stored else Spec()), stored

    async def all_steering(self) -> dict[str, Steering]:
        return await self._all("steering/", _STEERING)

    async def steering(self, model: str) -> tuple[Steering, Stored | None]:
        """Where the model's requests go, and the object that says it."""
        stored = await self._state.get(f"steering/{model}")
        return (self._parse(stored, _STEERING) if stored else Steering()), stored

    async def all_recording(self) -> dict[str, Recording]:
        return await self._all("recording/", _RECORDING)

    async def recording(self, model: str) -> tuple[Recording, Stored | None]:
        """Which of the model's requests are kept, and the object that says it."""
        stored = await self._state.get(f"recording/{model}")
        return (self._parse(stored, _RECORDING) if stored else Recording()), stored

    async def keep(self, model: str, kept: Kept) -> None:
        await self._overwrite(f"kept/{model}", _dump(kept))

    async def let_go(self, model: str) -> None:
        await self._remove(f"kept/{model}")

    async def set_aside(self, model: str, quarantine: Quarantine) -> None:
        await self._overwrite(f"quarantine/{model}", _dump(quarantine))

    async def readmit(self, model: str) -> None:
        await self._remove(f"quarantine/{model}")

    async def set_trial(self, release_id: str, kind: CheckKind, trial: Trial) -> None:
        await self._overwrite(f"evidence/{release_id}/{kind}", _dump(trial))

    async def reject(self, model: str, version: int, rejection: Rejection) -> None:
        await self._overwrite(f"rejected/{model}/{version}", _dump(rejection))

    async def clear_rejection(self, model: str, version: int) -> None:
        await self._remove(f"rejected/{model}/{version}")

    async def set_demand(self, model: str, demand: Demand) -> None:
        await self._overwrite(f"demand/{model}", _dump(demand))

    async def set_learned(self, model: str, version: int, learned: Learned) -> None:
        await self._overwrite(f"learned/{model}/{version}", _dump(learned))

    async def set_control(self, control: Control) -> None:
        await self._overwrite("control", _dump(control))

    async def set_spec(self, model: str, spec: Spec, *, expect: int | None) -> Stored:
        """Raises StateConflict when it is not as `expect` says any more."""
        return await self._state.put(f"spec/{model}", _dump(spec), expect=expect)

    async def set_steering(self, model: str, steering: Steering, *, expect: int | None) -> Stored:
        """Raises StateConflict when it is not as `expect` says any more."""
        return await self._state.put(f"steering/{model}", _dump(steering), expect=expect)

    async def end_steering(self, model: str, *, expect: int) -> None:
        """Raises StateConflict when it is not as `expect` says any more."""
        await self._state.delete(f"steering/{model}", expect=expect)
        self._parsed.pop(f"steering/{model}", None)

    async def set_recording(
        self, model: str, recording: Recording, *, expect: int | None
    ) -> Stored:
        """Raises StateConflict when it is not as `expect` says any more."""
        value = _dump(recording)
        return await self._state.put(f"recording/{model}", value, expect=expect)

    async def end_recording(self, model: str, *, expect: int) -> None:
        """Raises StateConflict when it is not as `expect` says any more."""
        await self._state.delete(f"recording/{model}", expect=expect)
        self._parsed.pop(f"recording/{model}", None)

    async def set_desired(self, model: str, desired: Desired) -> None:
        await self._overwrite(f"desired/{model}", _dump(desired))

    async def set_serving(self, model: str, version: int) -> None:
        await self._overwrite(f"serving/{model}", _dump(version))

    async def begin_release(self, release: Release) -> None:
        """Record a model's next release; the one before it goes to the archive.

        Raises:
            StateConflict: the model has an active release, or somebody else began one.
        """
        key = f"release/{release.model}"
        before = await self._state.get(key)
        if before is not None:
            ended = _RELEASE.validate_json(before.value)
            if ended.is_active:
                raise StateConflict(f"{ended.id} is {ended.state}")
            await self._overwrite(f"archive/release/{ended.id}", before.value)
            for stored in await self._state.scan(f"evidence/{ended.id}/"):
                await self._overwrite(f"archive/{stored.key}", stored.value)
                await self._remove(stored.key)
        expect = before.revision if before else None
        self.begun.add(release.id)
        await self._state.put(key, _dump(release), expect=expect)

    async def move_release(self, release: Release) -> None:
        """Record a release's next state.

        Raises:
            StateConflict: the model has another release by now.
        """
        before = await self._state.get(f"release/{release.model}")
        if before is None or _RELEASE.validate_json(before.value).id != release.id:
            raise StateConflict(f"{release.id} is not the newest release of {release.model}")
        await self._state.put(before.key, _dump(release), expect=before.revision)

    async def release(self, release_id: str) -> Release | None:
        for release in (await self.releases()).values():
            if release.id == release_id:
                return release
        archived = await self._state.get(f"archive/release/{release_id}")
        return _RELEASE.validate_json(archived.value) if archived else None

    async def all_releases(self) -> list[Release]:
        """The newest are read first: one that is followed meanwhile is found in the archive."""
        newest = (await self.releases()).values()
        return _by_id([*newest, *await self._archived("release", _RELEASE)])

    async def begin_operation(self, operation: Operation) -> None:
        await self._state.put(f"operation/{operation.id}", _dump(operation), expect=None)

    async def end_operation(self, operation: Operation) -> None:
        """Move an operation to the archive; readers find it in at least one place."""
        await self._overwrite(f"archive/operation/{operation.id}", _dump(operation))
        await self._remove(f"operation/{operation.id}")

    async def operation(self, operation_id: str) -> Operation | None:
        for key in (f"operation/{operation_id}", f"archive/operation/{operation_id}"):
            stored = await self._state.get(key)
            if stored is not None:
                return _OPERATION.validate_json(stored.value)
        return None

    async def all_operations(self) -> list[Operation]:
        """Pending ones are read first: one that ends meanwhile is found in the archive."""
        pending = await self.operations()
        return _by_id([*pending, *await self._archived("operation", _OPERATION)])

    async def trains(self) -> dict[str, Train]:
        """Those that go on."""
        return await self._all("train/", _TRAIN)

    async def ended_trains(self) -> dict[str, Train]:
        return {train.id: train for train in await self._archived("train", _TRAIN)}

    async def train(self, train_id: str) -> Train | None:
        for key in (f"train/{train_id}", f"archive/train/{train_id}"):
            stored = await self._state.get(key)
            if stored is not None:
                return _TRAIN.validate_json(stored.value)
        return None

    async def begin_train(self, train: Train) -> None:
        """Raises StateConflict when another one began in the same millisecond."""
        await self._state.put(f"train/{train.id}", _dump(train), expect=None)

    async def move_train(self, before: Train, after: Train) -> None:
        """Record how far a train is; one that is over goes to the archive.

        Raises:
            StateConflict: it is not as `before` says any more.
        """
        key = f"train/{before.id}"
        stored = await self._state.get(key)
        if stored is None or _TRAIN.validate_json(stored.value) != before:
            raise StateConflict(f"{key} is not what it was any more")
        if after.is_over:
            await self._overwrite(f"archive/{key}", _dump(after))
            await self._state.delete(key, expect=stored.revision)
        else:
            await self._state.put(key, _dump(after), expect=stored.revision)

    async def _archived(self, kind: str, adapter: TypeAdapter[T]) -> list[T]:
        """There may be thousands; meanwhile the loop is free for what waits there."""
        stored = await self._state.scan(f"archive/{kind}/")
        return await asyncio.to_thread(lambda: [adapter.validate_json(s.value) for s in stored])

    async def _all(self, prefix: str, adapter: TypeAdapter[T]) -> dict[str, T]:
        """Read again only after a change; a change while it is read is seen the next time."""
        changes = await self._state.changes(prefix)
        known = self._folders.get(prefix)
        if known is not None and known[0] == changes:
            return cast("dict[str, T]", known[1])
        found: dict[str, T] = {
            stored.key.removeprefix(prefix): self._parse(stored, adapter)
            for stored in await self._state.scan(prefix)
        }
        self._folders[prefix] = (changes, cast("dict[str, object]", found))
        return found

    def _parse(self, stored: Stored, adapter: TypeAdapter[T]) -> T:
        """Most objects are as they were at the last look."""
        known = self._parsed.get(stored.key)
        if known is not None and known[0] == stored.revision:
            return cast("T", known[1])
        value = adapter.validate_json(stored.value)
        self._parsed[stored.key] = (stored.revision, value)
        return value

    async def _remove(self, key: str) -> None:
        """Raises StateConflict when somebody changes it meanwhile."""
        stored = await self._state.get(key)
        if stored is not None:
            await self._state.delete(key, expect=stored.revision)
        self._parsed.pop(key, None)

    async def _overwrite(self, key: str, value: str) -> None:
        """The last writer wins; whoever came in between is overwritten."""
        while (before := await self._state.get(key)) is None or before.value != value:
            with suppress(StateConflict):
                await self._state.put(key, value, expect=before.revision if before else None)


def _by_id(found: Iterable[Named]) -> list[Named]:
    return list({each.id: each for each in found}.values())


def _dump(value: object) -> str:
    """A figure may be infinite: how far an answer of another shape is off."""
    return to_json(value, inf_nan_mode="constants").decode()
