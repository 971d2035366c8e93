"""What must survive a restart, as typed objects over the state store.

desired/<model>       what people asked for; written by the API
operation/<kind>/<model>   requests that have not ended; made by the API, ended by the loop
release/<model>       the model's newest release; begun by API or loop, moved by the loop
serving/<model>       the recorded version; written by the loop
archive/...           releases that were followed by another, and operations that ended
"""

from contextlib import suppress
from typing import TypeVar

from pydantic import TypeAdapter

from sidecar.core.fleet import Desired, Operation
from sidecar.core.release import Release
from sidecar.errors import StateConflict
from sidecar.ports import StateStore

T = TypeVar("T")

_DESIRED = TypeAdapter(Desired)
_OPERATION = TypeAdapter(Operation)
_RELEASE = TypeAdapter(Release)
_SERVING = TypeAdapter(int)


class Records:
    def __init__(self, state: StateStore) -> None:
        self._state = state

    async def desired(self) -> dict[str, Desired]:
        return await self._all("desired/", _DESIRED)

    async def serving(self) -> dict[str, int]:
        return await self._all("serving/", _SERVING)

    async def releases(self) -> dict[str, Release]:
        return await self._all("release/", _RELEASE)

    async def operations(self) -> tuple[Operation, ...]:
        return tuple((await self._all("operation/", _OPERATION)).values())

    async def set_desired(self, model: str, desired: Desired) -> None:
        await self._overwrite(f"desired/{model}", _dump(_DESIRED, desired))

    async def set_serving(self, model: str, version: int) -> None:
        await self._overwrite(f"serving/{model}", _dump(_SERVING, version))

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
        expect = before.revision if before else None
        await self._state.put(key, _dump(_RELEASE, release), expect=expect)

    async def move_release(self, release: Release) -> None:
        """Record a release's next state.

        Raises:
            StateConflict: the model has another release by now.
        """
        before = await self._state.get(f"release/{release.model}")
        if before is None or _RELEASE.validate_json(before.value).id != release.id:
            raise StateConflict(f"{release.id} is not the newest release of {release.model}")
        await self._state.put(before.key, _dump(_RELEASE, release), expect=before.revision)

    async def release(self, release_id: str) -> Release | None:
        for release in (await self.releases()).values():
            if release.id == release_id:
                return release
        archived = await self._state.get(f"archive/release/{release_id}")
        return _RELEASE.validate_json(archived.value) if archived else None

    async def begin_operation(self, operation: Operation) -> None:
        await self._state.put(
            f"operation/{operation.id}", _dump(_OPERATION, operation), expect=None
        )

    async def end_operation(self, operation: Operation) -> None:
        """Move an operation to the archive; readers find it in at least one place."""
        await self._overwrite(f"archive/operation/{operation.id}", _dump(_OPERATION, operation))
        pending = await self._state.get(f"operation/{operation.id}")
        if pending is not None:
            await self._state.delete(pending.key, expect=pending.revision)

    async def operation(self, operation_id: str) -> Operation | None:
        for key in (f"operation/{operation_id}", f"archive/operation/{operation_id}"):
            stored = await self._state.get(key)
            if stored is not None:
                return _OPERATION.validate_json(stored.value)
        return None

    async def _all(self, prefix: str, adapter: TypeAdapter[T]) -> dict[str, T]:
        return {
            stored.key.removeprefix(prefix): adapter.validate_json(stored.value)
            for stored in await self._state.scan(prefix)
        }

    async def _overwrite(self, key: str, value: str) -> None:
        """The last writer wins; whoever came in between is overwritten."""
        while (before := await self._state.get(key)) is None or before.value != value:
            with suppress(StateConflict):
                await self._state.put(key, value, expect=before.revision if before else None)


def _dump(adapter: TypeAdapter[T], value: T) -> str:
    return adapter.dump_json(value).decode()
