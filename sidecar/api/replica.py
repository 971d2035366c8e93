"""What this sidecar's Triton has, for the sidecar that drives the gateway before both."""

from typing import Annotated

from fastapi import APIRouter, Query

from sidecar.api.problems import problems
from sidecar.api.schemas import ReplicaBody
from sidecar.api.seen import seen
from sidecar.core.fleet import Server
from sidecar.core.replicas import free_bytes
from sidecar.errors import StateUnavailable
from sidecar.runtime.loop import Loop
from sidecar.runtime.route import Router


def replica_routes(loop: Loop, router: Router) -> APIRouter:
    routes = APIRouter(prefix="/v1", tags=["gateway"])

    @routes.get("/replica", summary="Look at this replica", responses=problems())
    async def replica(
        routed: Annotated[
            str | None, Query(max_length=64, description="Revision of the models that are routed.")
        ] = None,
    ) -> ReplicaBody:
        """Its models may be unloaded only when the gateway routes none of them any more."""
        snapshot = seen(loop)
        if routed is not None:
            await router.acknowledge(routed)
        if not router.is_settled:
            raise StateUnavailable("what was loaded before is being proven; ask again")
        return ReplicaBody(
            models={
                model: sorted(snapshot.servers[Server.SERVING].ready(model))
                for model in sorted(router.own.models)
            },
            stateful=sorted(router.own.stateful),
            joined=router.own.joined,
            free_bytes=free_bytes(snapshot, loop.policy),
        )

    return routes
