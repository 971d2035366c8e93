"""What people ask about releases: checked against what is the case, recorded, left to the loop."""

import asyncio
import time

from contract.config import is_stateful
from sidecar.core.events import Event, EventName
from sidecar.core.fleet import Operation, OperationKind, StoredModel
from sidecar.core.release import CAN_ROLL_BACK, RESTING, Release, admit, moved, release_id
from sidecar.core.requested import can_heed
from sidecar.core.strategy import DEFAULT_STRATEGY, Strategy
from sidecar.errors import Conflict, Impossible, RejectedVersion, StateConflict, UnknownObject
from sidecar.runtime.requests import Requests, describe, new_operation, refuse_absent_version
from sidecar.runtime.route import Router
from sidecar.runtime.world import World

SUPERSEDED_WITHIN_S = 25.0
LOOK_EVERY_S = 0.05


class Releases:
    """Each method raises a RequestRefused that says why, and then has changed nothing."""

    def __init__(self, world: World, requests: Requests) -> None:
        self._world = world
        self._records = world.records
        self._requests = requests

    async def begin(
        self,
        model: str,
        version: int,
        *,
        actor: str,
        strategy: Strategy = DEFAULT_STRATEGY,
        supersede: bool = False,
    ) -> Operation:
        """Begin to release a version; with `supersede`, one that goes on is aborted first."""
        stored = await self._requests.stored(model)
        refuse_absent_version(stored, version)
        await self._refuse_rejected(model, version)
        serving = (await self._records.serving()).get(model)
        if version == serving:
            raise Conflict("already_serving", f"version {version} of {model} serves already")
        if strategy.shift and serving is None:
            raise Conflict(
                "nothing_to_shift",
                f"{model} has no version from which requests could be shifted; leave shift out",
            )
        refuse_shift(strategy, self._world.router, stored)
        if serving is not None and serving in stored.versions:
            await self._refuse_other_signature(model, serving, version)
        if supersede:
            await self._end_active(model, version, actor)
        await self._requests.refuse_during_release(model)
        now_s = time.time()
        release = admit(
            release_id=release_id(model, version, now_s),
            model=model,
            version=version,
            base=(await self._records.serving()).get(model),
            actor=actor,
            at_s=now_s,
            strategy=strategy,
        )
        try:
            await self._records.begin_release(release)
        except StateConflict as error:
            raise Conflict("release_active", f"{model} is being released: {error}") from error
        await self._world.telemetry.record(moved(release))
        operation = new_operation(OperationKind.RELEASE, model, actor, release_id=release.id)
        return await self._requests.begin(operation)

    async def roll_back(self, model: str, *, actor: str) -> Operation:
        """Move the traffic back to the version before the model's newest release."""
        await self._requests.stored(model)
        release = (await self._records.releases()).get(model)
        if release is None or release.base is None or release.state not in CAN_ROLL_BACK:
            raise Conflict(
                "nothing_to_roll_back",
                f"{model} has no release to roll back: {describe(release)}",
            )
        operation = new_operation(OperationKind.ROLLBACK, model, actor, release_id=release.id)
        return await self._requests.begin(operation)

    async def ask(self, release_id: str, kind: OperationKind, *, actor: str) -> Operation:
        """Ask something of a release: to go on, to stand still, to end, to go back.

        Only the model's newest can go back, and only to a version before it.
        """
        release = await self._records.release(release_id)
        if release is None:
            raise UnknownObject("unknown_release", f"no release {release_id!r}")
        models, _ = await self._world.store.known()
        stored = models.get(release.model)
        has_base = stored is not None and release.base in stored.versions
        if not can_heed(release, kind, has_base=has_base):
            where = f"paused, and {release.state}" if release.paused_by else release.state
            raise Conflict(
                "release_elsewhere", f"cannot {kind} release {release_id}: it is {where}"
            )
        if kind is OperationKind.ROLLBACK:
            await self._refuse_without_way_back(release)
        operation = new_operation(kind, release.model, actor, release_id=release_id)
        return await self._requests.begin(operation)

    async def clear_rejection(self, model: str, version: int, *, actor: str) -> None:
        """Let a version be released again as it is."""
        if (model, version) not in await self._records.rejected():
            raise Conflict("not_rejected", f"version {version} of {model} was not rejected")
        await self._records.clear_rejection(model, version)
        event = Event(
            name=EventName.REJECTION_CLEARED,
            model=model,
            detail={"actor": actor, "version": version},
        )
        await self._world.telemetry.record(event)

    async def _end_active(self, model: str, version: int, actor: str) -> None:
        """Abort the release that goes on, if any, and wait for its end."""
        active = (await self._records.releases()).get(model)
        if active is None or not active.is_active:
            return
        if active.version == version:
            raise Conflict("release_active", f"{model} is being released: {describe(active)}")
        await self.ask(active.id, OperationKind.ABORT, actor=actor)
        deadline_s = time.monotonic() + SUPERSEDED_WITHIN_S
        while not await self._has_ended(active):
            if time.monotonic() > deadline_s:
                raise Conflict(
                    "release_active",
                    f"release {active.id} has been aborted for version {version}, but goes back "
                    f"still after {SUPERSEDED_WITHIN_S:g} s; ask again when it has ended",
                )
            await asyncio.sleep(LOOK_EVERY_S)

    async def _has_ended(self, release: Release) -> bool:
        found = await self._records.release(release.id)
        return found is None or found.state in RESTING

    async def _refuse_without_way_back(self, release: Release) -> None:
        newest = (await self._records.releases())[release.model]
        if newest.id != release.id:
            obstacle = f"it was followed by {newest.id}"
        elif release.base is None:
            obstacle = f"version {release.version} is the first of {release.model}"
        else:
            return
        raise Conflict("release_elsewhere", f"cannot rollback release {release.id}: {obstacle}")

    async def _refuse_rejected(self, model: str, version: int) -> None:
        rejection = (await self._records.rejected()).get((model, version))
        if rejection is not None:
            raise RejectedVersion(model, version, rejection.reason, rejection.release)

    async def _refuse_other_signature(self, model: str, serving: int, version: int) -> None:
        store = self._world.store
        ours = (await store.manifest(model, serving)).signature
        changes = ours.difference((await store.manifest(model, version)).signature)
        if changes:
            raise Impossible(
                "signature_changed",
                f"version {version} of {model} does not take the requests that version "
                f"{serving} takes: {'; '.join(changes)}; publish it as a model of its own",
            )


def refuse_shift(strategy: Strategy, router: Router, *models: StoredModel) -> None:
    """Raises Conflict or Impossible where nobody could share requests between versions."""
    if not strategy.shift:
        return
    for model in models:
        if any(is_stateful(version.config) for version in model.versions.values()):
            raise Impossible(
                "stateful_model",
                f"{model.name} keeps state between the requests of a sequence, and all of one "
                "have to meet the same version; leave shift out",
            )
    if not router.has_gateway:
        raise Conflict(
            "no_gateway",
            "clients speak to Triton itself, and nobody can share their requests between two "
            "versions; leave shift out, or add a section `gateway` to the settings",
        )
    if not router.is_alone:
        raise Conflict(
            "not_alone",
            "other replicas answer for the same models, and do not have the new versions; leave "
            "shift out and release on each of them",
        )
