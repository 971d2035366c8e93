"""What people ask about releases: checked against what is the case, recorded, left to the loop."""

import asyncio
import time
from contextlib import suppress
from dataclasses import replace

from contract.config import is_stateful
from sidecar.core.events import Event, EventName
from sidecar.core.fleet import Operation, OperationKind, StoredModel
from sidecar.core.release import (
    CAN_ROLL_BACK,
    RESTING,
    Asked,
    Release,
    ReleaseState,
    admit,
    moved,
    release_id,
)
from sidecar.core.requested import can_heed, way_back
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
        await self._begin(release)
        operation = new_operation(OperationKind.RELEASE, model, actor, release_id=release.id)
        return await self._requests.begin(operation)

    async def roll_back(
        self, model: str, *, actor: str, release_id: str | None = None
    ) -> Operation:
        """Move the traffic back to the version before.

        That undoes the last move of the traffic. After one that went back already, `release_id`
        has to name the release that brought the version which serves: asked twice, or just after
        a version went back by itself, nothing goes back by two versions.
        """
        stored = await self._requests.stored(model)
        newest = (await self._records.releases()).get(model)
        if newest is None or newest.is_active or newest.state is ReleaseState.DONE:
            return await self._turn_round(model, newest, release_id, actor)
        if release_id == newest.id:
            raise _nothing_to_roll_back(model, describe(newest))
        followed = await self._followed(model, newest, release_id)
        if followed.base not in stored.versions:
            raise _nothing_to_roll_back(
                model, f"version {followed.base}, which served before, is no longer in the store"
            )
        operation = new_operation(OperationKind.ROLLBACK, model, actor)
        asked = Asked(actor, operation.id)
        back = way_back(followed, by=asked, at_s=operation.created_at_s)
        await self._begin(back)
        return await self._requests.begin(replace(operation, release_id=back.id))

    async def _turn_round(
        self, model: str, newest: Release | None, release_id: str | None, actor: str
    ) -> Operation:
        if newest is None or newest.base is None or newest.state not in CAN_ROLL_BACK:
            raise _nothing_to_roll_back(model, describe(newest))
        if release_id not in (None, newest.id):
            raise Conflict(
                "nothing_to_roll_back",
                f"release {release_id} was followed by {newest.id}; roll that one back",
            )
        operation = new_operation(OperationKind.ROLLBACK, model, actor, release_id=newest.id)
        return await self._requests.begin(operation)

    async def _followed(self, model: str, newest: Release, release_id: str | None) -> Release:
        """The release that brought the version which serves, and was followed by others."""
        serving = (await self._records.serving()).get(model)
        moves = sorted(
            (
                each
                for each in await self._records.all_releases()
                if each.model == model and each.state is not ReleaseState.REFUSED
            ),
            key=lambda each: each.steps[0].at_s,
        )
        done = [each for each in moves if each.state is ReleaseState.DONE]
        brought = next((each for each in reversed(done) if each.version == serving), None)
        if brought is None or brought.base is None:
            raise _nothing_to_roll_back(model, describe(brought or newest))
        if release_id not in (None, brought.id):
            raise _nothing_to_roll_back(
                model,
                f"version {serving} serves since release {brought.id}, and not since {release_id}",
            )
        if release_id is None and moves[-1] is not brought:
            raise _nothing_to_roll_back(
                model,
                f"{describe(moves[-1])}; to go back further, from version {serving} to "
                f"{brought.base}: `pilotlight rollback {brought.id}`",
            )
        return brought

    async def _begin(self, release: Release) -> None:
        """Raises Conflict when the model is being released meanwhile."""
        try:
            await self._records.begin_release(release)
        except StateConflict as error:
            message = f"{release.model} is being released: {error}"
            raise Conflict("release_active", message) from error
        await self._world.telemetry.record(moved(release))

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
        # One that goes back already, or has just ended, needs no abort.
        with suppress(Conflict):
            await self.ask(active.id, OperationKind.ABORT, actor=actor)
        deadline_s = time.monotonic() + SUPERSEDED_WITHIN_S
        while not await self._has_ended(active):
            if time.monotonic() > deadline_s:
                raise Conflict(
                    "release_active",
                    f"release {active.id} makes way for version {version}, but goes back still "
                    f"after {SUPERSEDED_WITHIN_S:g} s; ask again when it has ended",
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


def _nothing_to_roll_back(model: str, why: str) -> Conflict:
    return Conflict("nothing_to_roll_back", f"{model} has no release to roll back: {why}")


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
