"""What probes and Prometheus ask. Open to everybody."""

from typing import Annotated

from fastapi import APIRouter, Query, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from sidecar.api.schemas import Alive, HealthCheck, Readiness, Startup
from sidecar.core.health import findings
from sidecar.core.status import unready
from sidecar.runtime.loop import Loop
from sidecar.runtime.world import World

# Much longer than any cycle, and than the timeout of a call to a Triton that hangs.
STALE_AFTER_S = 60.0


def health_routes(loop: Loop, world: World) -> APIRouter:
    router = APIRouter(tags=["health"])

    @router.get("/livez", summary="Whether the process answers")
    async def livez() -> Alive:
        return Alive()

    @router.get(
        "/startupz",
        summary="Whether the sidecar has come up",
        responses={503: {"model": Startup, "description": "Not yet; `detail` says why"}},
    )
    async def startupz(response: Response) -> Startup:
        """200 once the first look at servers, store and state has ended."""
        if loop.snapshot is None:
            response.status_code = 503
        return Startup(
            started=loop.snapshot is not None,
            detail=(loop.problem or "") if loop.snapshot is None else "the first cycle has run",
        )

    @router.get(
        "/readyz",
        summary="Whether every hot model answers",
        response_model_exclude_none=True,
        responses={503: {"model": Readiness, "description": "Not ready; `missing` says why"}},
    )
    async def readyz(
        response: Response,
        verbose: Annotated[
            str | None, Query(description="Given, with any value: also list what is right.")
        ] = None,
    ) -> Readiness:
        """200 when every hot model is loaded, warmed, probed and routed, whatever cold ones do."""
        if loop.snapshot is None or loop.snapshot_age_s > STALE_AFTER_S:
            missing = [loop.problem or f"the last look is {loop.snapshot_age_s:.0f} s old"]
        else:
            unrouted = world.router.unrouted(loop.snapshot.hot_models())
            missing = unready(loop.snapshot, loop.plan.blocked) or [
                f"{model}: the gateway does not send its requests to the server yet"
                for model in unrouted
            ]
        response.status_code = 503 if missing else 200
        return Readiness(
            ready=not missing,
            missing=missing,
            checks=None if verbose is None else _checks(loop),
        )

    @router.get(
        "/metrics",
        summary="Prometheus text",
        response_class=PlainTextResponse,
    )
    async def metrics() -> Response:
        return Response(generate_latest(world.telemetry.registry), media_type=CONTENT_TYPE_LATEST)

    return router


def _checks(loop: Loop) -> list[HealthCheck]:
    age_s = loop.snapshot_age_s if loop.snapshot else None
    last_look = "never" if age_s is None else f"the last look is {age_s:.1f} s old"
    cycle = HealthCheck(
        name="loop",
        ok=loop.problem is None and age_s is not None and age_s <= STALE_AFTER_S,
        detail=loop.problem or last_look,
    )
    found = (
        findings(loop.snapshot, loop.policy, loop.plan.blocked, loop.now_s) if loop.snapshot else ()
    )
    return [
        cycle,
        *(HealthCheck(name=each.name, ok=each.ok, detail=each.detail) for each in found),
    ]
