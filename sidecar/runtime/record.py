"""Keeps requests of clients, so that two versions can be asked them again."""

import asyncio
from collections.abc import Callable

from contract.errors import ContractError, InvalidRequest
from contract.samples import Tensors
from sidecar.core.events import Event, EventName
from sidecar.core.fleet import Snapshot
from sidecar.core.recording import Dropped, Drops, Recording, misfits, redacted
from sidecar.errors import StateUnavailable
from sidecar.ports import Stored
from sidecar.runtime.backlog import Backlog, Decode, Sample
from sidecar.runtime.compare import LARGEST_BYTES, MOST_WAITING, MOST_WAITING_BYTES
from sidecar.runtime.world import World


async def set_recording(
    world: World, model: str, said: Recording, *, expect: int | None, actor: str
) -> Stored:
    """Replace what is said of a model's recording; a StateConflict when it was changed meanwhile.

    What holds values that are to be redacted now is forgotten.
    """
    before, _ = await world.records.recording(model)
    all_but = 0 if said.reveals_less_than(before) else said.most
    # Before, so that a crash leaves nothing of it behind; after, for what has come in between.
    await world.recordings.forget(model, all_but=all_but)
    stored = await world.records.set_recording(model, said, expect=expect)
    await world.recordings.forget(model, all_but=all_but)
    await _tell(world, model, said, actor)
    return stored


async def end_recording(world: World, model: str, *, expect: int | None, actor: str) -> None:
    """Forget all that was kept, and what was said; a StateConflict as `set_recording`."""
    if expect is not None:
        await world.records.end_recording(model, expect=expect)
    await world.recordings.forget(model)
    await _tell(world, model, Recording(), actor)


async def keep(world: World, model: str, inputs: Tensors) -> None:
    """Record a request that the serving version takes, or the newest where none serves.

    Raises:
        InvalidRequest: it does not take it; says the difference.
        StateUnavailable: it cannot be written.
    """
    version = (await world.records.serving()).get(model)
    if version is None:
        models, _ = await world.store.known()
        version = models[model].newest
    manifest = await world.store.manifest(model, version)
    if found := misfits(inputs, manifest.signature):
        raise InvalidRequest(
            f"version {version} of {model} does not take this request: {'; '.join(found)}"
        )
    said, stored = await world.records.recording(model)
    await world.recordings.add(model, redacted(inputs, said.redact), most=said.most)
    _, now = await world.records.recording(model)
    if now != stored:
        # Somebody wants more redacted meanwhile, or all forgotten.
        await world.recordings.forget(model)


async def _tell(world: World, model: str, said: Recording, actor: str) -> None:
    detail = {"actor": actor, "recording": said.model_dump_json()}
    event = Event(name=EventName.RECORDING_CHANGED, model=model, detail=detail)
    await world.telemetry.record(event)


class Recorder(Backlog[Sample]):
    """While entered, keeps copies of clients' requests where somebody wants it."""

    def __init__(self, world: World, look: Callable[[], Snapshot | None]) -> None:
        """`look` is the last look at everything: it says whose requests are recorded."""
        super().__init__(
            self._record,
            most=MOST_WAITING,
            most_bytes=MOST_WAITING_BYTES,
            crashed="recording_crashed",
        )
        self._world = world
        self._look = look
        self._drops: dict[str, Drops] = {}

    def offer(self, model: str, body: bytes, decode: Decode) -> None:
        """A client's request for inference, as `Comparer.offer` gets it."""
        seen = self._look()
        said = seen.recording.get(model) if seen else None
        if said is None or said.percent == 0:
            return
        if len(body) > LARGEST_BYTES:
            self._drop(model, Dropped.TOO_LARGE)
        elif not self.put(Sample(model=model, body=body, decode=decode)):
            self._drop(model, Dropped.TOO_MANY)

    def drops(self, model: str) -> Drops:
        """What was not kept of a model's requests since this process began."""
        return self._drops.get(model, Drops())

    async def _record(self, sample: Sample) -> None:
        try:
            inputs = await asyncio.to_thread(sample.decode, sample.body)
            said, _ = await self._world.records.recording(sample.model)
            if said.percent:
                await keep(self._world, sample.model, inputs)
        except ContractError as error:
            self._drop(sample.model, Dropped.UNREADABLE, str(error))
        except StateUnavailable as error:
            self._drop(sample.model, Dropped.NOT_WRITTEN, str(error))

    def _drop(self, model: str, why: Dropped, reason: str | None = None) -> None:
        self._drops[model] = self.drops(model).with_(why, reason)
