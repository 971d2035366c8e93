"""What the sidecar does as a whole: act, only look, or leave."""

from fastapi import APIRouter

from sidecar.api.auth import Authorized
from sidecar.api.idempotency import OncePerKey
from sidecar.api.problems import problems
from sidecar.api.schemas import ControlBody
from sidecar.core.fleet import Mode
from sidecar.runtime.loop import Loop
from sidecar.runtime.records import Records
from sidecar.runtime.requests import Requests


def control_routes(loop: Loop, requests: Requests, records: Records) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["control"], route_class=OncePerKey, responses=problems())

    @router.get("/control", summary="Look at mode and profile")
    async def get_control() -> ControlBody:
        return ControlBody.of(await records.control(), loop.profile())

    @router.post(":pause", summary="Pause")
    async def pause(caller: Authorized) -> ControlBody:
        """Look on and do nothing, until `:resume`; what is under way ends."""
        return await _set(Mode.PAUSED, caller.name)

    @router.post(":resume", summary="Resume")
    async def resume(caller: Authorized) -> ControlBody:
        """Act again, after `:pause` or `:drain`."""
        return await _set(Mode.RUNNING, caller.name)

    @router.post(":drain", summary="Drain")
    async def drain(caller: Authorized) -> ControlBody:
        """Say not ready, so that traffic goes elsewhere, and finish what has begun.

        It ends with the sidecar: one that is started again serves.
        """
        return await _set(Mode.DRAINING, caller.name)

    async def _set(mode: Mode, actor: str) -> ControlBody:
        return ControlBody.of(await requests.set_mode(mode, actor=actor), loop.profile())

    return router
