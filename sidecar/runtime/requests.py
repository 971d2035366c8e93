"""What people ask for: checked against what is the case, recorded, and left to the loop."""

import time
import uuid
from collections.abc import Callable
from dataclasses import replace

from contract.intent import Tier
from contract.strict import nearest
from sidecar.core.activation import Heat
from sidecar.core.events import Event, EventName
from sidecar.core.fleet import (
    Control,
    Desired,
    Mode,
    Operation,
    OperationKind,
    Profile,
    StoredModel,
)
from sidecar.core.release import Release
from sidecar.core.spec import Spec, with_spec
from sidecar.core.steering import Steering
from sidecar.errors import Conflict, UnknownObject
from sidecar.ports import Stored
from sidecar.runtime.activate import quarantined
from sidecar.runtime.mode import set_mode
from sidecar.runtime.world import World


class Requests:
    """Each method raises a RequestRefused that says why, and then has changed nothing."""

    def __init__(self, world: World, profile: Callable[[], Profile]) -> None:
        """`profile` says which one holds now."""
        self._world = world
        self._records = world.records
        self._profile = profile

    async def load(self, model: str, *, actor: str) -> Operation:
        await self.stored(model)
        await self._refuse_in_quarantine(model)
        return await self._want(OperationKind.LOAD, model, loaded=True, actor=actor)

    async def unload(self, model: str, *, actor: str) -> Operation:
        stored = await self.stored(model)
        if stored.tier is Tier.HOT and self._profile() is Profile.PRODUCTION:
            raise Conflict(
                "model_is_hot", f"{model} is hot and stays loaded; make its tier cold first"
            )
        await self.refuse_during_release(model)
        return await self._want(OperationKind.UNLOAD, model, loaded=False, actor=actor)

    async def ensure(self, model: str, *, timeout_s: float) -> Heat:
        """Return when the model answers; it is loaded and warmed once, however many ask.

        Raises:
            TooLate, Quarantined, DoesNotFit, NotNow: see `Waiting.wait_for`.
        """
        if not self._world.waiting.answers(model):
            await self.stored(model)
        began_s, outcome = time.monotonic(), "refused"
        try:
            heat = await self._world.waiting.wait_for(model, timeout_s)
            outcome = heat.value
        finally:
            self._world.telemetry.counts.waited(time.monotonic() - began_s, outcome)
        return heat

    async def unquarantine(self, model: str, *, actor: str) -> None:
        """Let a model be loaded again as if it had never failed."""
        await self.stored(model)
        quarantine = (await self._records.quarantine()).get(model)
        if quarantine is None:
            raise Conflict("not_quarantined", f"{model} is not in quarantine")
        over = replace(quarantine, until_s=time.time(), times=0)
        await self._records.set_aside(model, over)
        event = Event(
            name=EventName.MODEL_READMITTED,
            model=model,
            detail={"actor": actor, "reason": "a person asked for it"},
        )
        await self._world.telemetry.record(event)

    async def set_mode(self, mode: Mode, *, actor: str) -> Control:
        """Setting the mode that holds changes nothing."""
        return await set_mode(self._world, mode, actor=actor)

    async def set_spec(self, model: str, spec: Spec, *, expect: int | None, actor: str) -> Stored:
        """Replace what is said of a model; a StateConflict when somebody else did so first."""
        stored = await self._records.set_spec(model, spec, expect=expect)
        detail = {"actor": actor, "spec": stored.value}
        event = Event(name=EventName.SPEC_CHANGED, model=model, detail=detail)
        await self._world.telemetry.record(event)
        return stored

    async def set_steering(
        self, model: str, steering: Steering, *, expect: int | None, actor: str
    ) -> Stored:
        """Replace what is said of a model's requests; a StateConflict as `set_spec`."""
        stored = await self._records.set_steering(model, steering, expect=expect)
        await self._tell_steering(model, steering, actor)
        return stored

    async def end_steering(self, model: str, *, expect: int, actor: str) -> None:
        """Let requests go to the serving version; a StateConflict as `set_spec`."""
        await self._records.end_steering(model, expect=expect)
        await self._tell_steering(model, Steering(), actor)

    async def _tell_steering(self, model: str, steering: Steering, actor: str) -> None:
        detail = {"actor": actor, "steering": steering.model_dump_json()}
        event = Event(name=EventName.STEERING_CHANGED, model=model, detail=detail)
        await self._world.telemetry.record(event)

    async def _want(
        self, kind: OperationKind, model: str, *, loaded: bool, actor: str
    ) -> Operation:
        operation = new_operation(kind, model, actor)
        kept = (await self._records.kept()).get(model)
        # A person has the last word, also when the clock has been set back.
        asked_at_s = max(operation.created_at_s, kept.since_s if kept else 0.0)
        desired = Desired(loaded=loaded, requested_at_s=asked_at_s)
        await self._records.set_desired(model, desired)
        return await self.begin(operation)

    async def begin(self, operation: Operation) -> Operation:
        """Record that somebody asked for it; the loop does it."""
        await self._records.begin_operation(operation)
        detail = {
            "operation": operation.id,
            "kind": operation.kind.value,
            "actor": operation.actor,
        }
        event = Event(name=EventName.OPERATION_ACCEPTED, model=operation.model, detail=detail)
        await self._world.telemetry.record(event)
        return operation

    async def stored(self, model: str) -> StoredModel:
        """What the store has of it now, as it is to be treated. Raises UnknownObject."""
        models, _ = await self._world.store.scan()
        if model not in models:
            raise UnknownObject(
                "unknown_model", f"no model {model!r} in the store; {nearest(model, models)}"
            )
        spec, _ = await self._records.spec(model)
        return with_spec(models[model], spec)

    async def _refuse_in_quarantine(self, model: str) -> None:
        quarantine = (await self._records.quarantine()).get(model)
        if quarantine is not None and quarantine.holds(time.time()):
            raise quarantined(model, quarantine)

    async def refuse_during_release(self, model: str) -> None:
        """Raises Conflict while a release of the model goes on."""
        release = (await self._records.releases()).get(model)
        if release is not None and release.is_active:
            raise Conflict(
                "release_active",
                f"{model} is being released: {describe(release)}; wait for it or roll it back",
            )


def refuse_absent_version(stored: StoredModel, version: int) -> None:
    """Raises UnknownObject when the store lacks it."""
    if version not in stored.versions:
        have = ", ".join(map(str, sorted(stored.versions)))
        raise UnknownObject(
            "unknown_version",
            f"{stored.name} has no version {version} in the store; it has {have}",
        )


def new_operation(
    kind: OperationKind, model: str, actor: str, *, release_id: str | None = None
) -> Operation:
    return Operation(
        id=uuid.uuid4().hex,
        kind=kind,
        model=model,
        actor=actor,
        created_at_s=time.time(),
        release_id=release_id,
    )


def describe(release: Release | None) -> str:
    if release is None:
        return "it never had one"
    if release.base is None and not release.is_active:
        return f"version {release.version} is its first"
    return f"release {release.id} of version {release.version} is {release.state}"
