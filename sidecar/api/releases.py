"""Releases: where each one is and why, all that it has gathered, and each change as it comes."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from fastapi.sse import EventSourceResponse, ServerSentEvent

from contract.errors import ContractError
from sidecar.api.paging import Paged
from sidecar.api.problems import problems
from sidecar.api.release_schemas import GatheredBody, Isolation, ReleaseBody, ReleaseList
from sidecar.core.fleet import CheckKind
from sidecar.core.release import Release
from sidecar.core.status import waits_for
from sidecar.core.switching import soak_of
from sidecar.errors import StateUnavailable, UnknownObject
from sidecar.runtime.loop import Loop
from sidecar.runtime.records import Records
from sidecar.runtime.world import World

LOOK_EVERY_S = 1.0
"""Nobody is told how far a soak is: who follows a release looks as often."""


def release_routes(loop: Loop, world: World) -> APIRouter:
    router = APIRouter(prefix="/v1/releases", tags=["releases"])
    records, view = world.records, _View(loop, world)
    known = Depends(view.known)

    @router.get("", summary="List releases", responses=problems("invalid_page_token"))
    async def list_releases(
        page: Paged,
        model: str | None = None,
        active: Annotated[bool | None, Query(description="Going on, or ended.")] = None,
    ) -> ReleaseList:
        """Newest first."""
        found, following = page.cut(
            (
                release
                for release in await records.all_releases()
                if model in (None, release.model) and active in (None, release.is_active)
            ),
            _age,
            newest_first=True,
        )
        releases = [await view.body(release) for release in found]
        return ReleaseList(releases=releases, next_page_token=following)

    @router.get("/{release_id}", summary="Look at a release", responses=problems("unknown_release"))
    async def get_release(release: Annotated[Release, known]) -> ReleaseBody:
        """A release with every step and its evidence; ended ones stay."""
        return await view.body(release)

    @router.get(
        "/{release_id}/evidence",
        summary="Look at all that a release has gathered",
        responses=problems("unknown_release"),
    )
    async def get_evidence(release: Annotated[Release, known]) -> GatheredBody:
        """Latencies side by side, outputs, memory and failures, as far as they are known."""
        trials = await records.trials_of(release.id)
        return GatheredBody.of(release, trials, tolerances=await view.tolerances(release))

    @router.get(
        "/{release_id}/stream",
        summary="Follow a release",
        response_class=EventSourceResponse,
        responses=problems("unknown_release"),
    )
    async def stream(release: Annotated[Release, known]) -> AsyncIterator[ServerSentEvent]:
        """The release now and after each change, as `text/event-stream`, until it has ended."""
        with world.telemetry.readers.track_inprogress():
            async for body in view.follow(release.id):
                yield ServerSentEvent(event="release", data=body)

    return router


async def known_release(records: Records, release_id: str) -> Release:
    """Raises UnknownObject when there never was one."""
    found = await records.release(release_id)
    if found is None:
        raise UnknownObject("unknown_release", f"no release {release_id!r}")
    return found


class _View:
    """Releases as they go over the wire."""

    def __init__(self, loop: Loop, world: World) -> None:
        self._loop = loop
        self._world = world

    async def known(self, release_id: str) -> Release:
        return await known_release(self._world.records, release_id)

    async def tolerances(self, release: Release) -> Mapping[str, float] | None:
        """Of each output; None when the version's manifest cannot be read."""
        try:
            manifest = await self._world.store.manifest(release.model, release.version)
        except ContractError:
            return None
        return manifest.tolerances

    async def body(self, release: Release) -> ReleaseBody:
        trials = await self._world.records.trials()
        seen, blocked = self._loop.snapshot, self._loop.plan.blocked
        return ReleaseBody.of(
            release,
            guard=trials.get((release.id, CheckKind.GUARD)),
            soak_s=soak_of(release, self._loop.policy),
            isolation=Isolation.SHADOW if self._world.is_shadowed else Isolation.SERVER,
            waits_for=waits_for(release, seen, blocked) if seen else None,
        )

    async def follow(self, release_id: str) -> AsyncIterator[ReleaseBody]:
        """Ends with the release, when the sidecar stops, and when the state cannot be read."""
        telemetry = self._world.telemetry
        shown = None
        with suppress(StateUnavailable):
            while True:
                newest = await telemetry.journal.newest_id()
                body = await self.body(await self.known(release_id))
                if body != shown:
                    yield body
                    shown = body
                if not body.active:
                    return
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_EVERY_S):
                        if not await telemetry.wait_beyond(newest):
                            return


def _age(release: Release) -> str:
    return f"{release.steps[0].at_s:020.6f} {release.id}"
