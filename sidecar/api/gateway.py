"""The gateway between clients and Triton."""

from fastapi import APIRouter

from sidecar.api.front import Front
from sidecar.api.problems import problems
from sidecar.api.seen import seen
from sidecar.api.traffic_schemas import GatewayBody, GatewayState
from sidecar.runtime.loop import Loop
from sidecar.runtime.world import World


def gateway_routes(loop: Loop, world: World, front: Front | None) -> APIRouter:
    router = APIRouter(prefix="/v1/gateway", tags=["gateway"], responses=problems())

    @router.get("", summary="Look at the gateway")
    async def get_gateway() -> GatewayState:
        """Where clients connect, what is routed, and what waits."""
        if front is None:
            return GatewayState(gateway=None)
        traffic = seen(loop).traffic.values()
        return GatewayState(gateway=GatewayBody.of(front, world.router, world.waiting, traffic))

    return router
