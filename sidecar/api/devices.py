"""Memory: what each device has, who holds it, and what more of it would bring."""

from fastapi import APIRouter

from sidecar.api.planning_schemas import DeviceList
from sidecar.api.problems import problems
from sidecar.api.seen import weighed
from sidecar.core.advice import advice
from sidecar.core.overflow import hot_overflow
from sidecar.runtime.loop import Loop


def device_routes(loop: Loop) -> APIRouter:
    router = APIRouter(prefix="/v1/devices", tags=["memory"], responses=problems())

    @router.get("", summary="List devices")
    async def list_devices() -> DeviceList:
        """The account of each device that has a budget or is measured."""
        weighing = weighed(loop)
        said = [
            *map(str, hot_overflow(weighing.snapshot, weighing.policy)),
            *advice(weighing.snapshot, weighing.policy, weighing.now_s),
        ]
        return DeviceList.of(weighing, said)

    return router
