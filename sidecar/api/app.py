"""The REST application. Health and metrics are open; everything under /v1 wants the token."""

import secrets
from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from sidecar.api.models import model_routes
from sidecar.api.operations import operation_routes
from sidecar.api.problems import add_problem_handlers
from sidecar.api.schemas import Readiness
from sidecar.core.status import unready
from sidecar.runtime.loop import Loop
from sidecar.runtime.requests import Requests
from sidecar.runtime.world import World

# Much longer than any cycle, and than the timeout of a call to a Triton that hangs.
STALE_AFTER_S = 60.0


def create_app(world: World, loop: Loop, token: str | None) -> FastAPI:
    app = FastAPI(
        title="Pilotlight",
        summary="What Triton holds, why, and how a new version gets its traffic.",
        version="1",
        docs_url=None,
        redoc_url=None,
    )
    add_problem_handlers(app)

    @app.get("/livez", tags=["health"])
    async def livez() -> dict[str, str]:
        """The process answers."""
        return {"status": "alive"}

    @app.get("/readyz", tags=["health"], responses={503: {"model": Readiness}})
    async def readyz(response: Response) -> Readiness:
        """200 when every hot model is loaded, warmed and probed; what cold ones do is no matter."""
        if loop.snapshot is None or loop.snapshot_age_s > STALE_AFTER_S:
            missing = [loop.problem or f"the last look is {loop.snapshot_age_s:.0f} s old"]
        else:
            missing = unready(loop.snapshot)
        response.status_code = 503 if missing else 200
        return Readiness(ready=not missing, missing=missing)

    @app.get("/metrics", tags=["health"])
    async def metrics() -> Response:
        """Prometheus text."""
        return Response(generate_latest(world.telemetry.registry), media_type=CONTENT_TYPE_LATEST)

    guarded = [Depends(_bearer(token))]
    requests = Requests(world)
    app.include_router(model_routes(loop, requests), dependencies=guarded)
    app.include_router(operation_routes(world.records), dependencies=guarded)
    return app


def _bearer(token: str | None) -> Callable[..., Awaitable[None]]:
    scheme = HTTPBearer(auto_error=False)

    async def check(
        given: Annotated[HTTPAuthorizationCredentials | None, Depends(scheme)],
    ) -> None:
        if token is None:
            return
        if given is None or not secrets.compare_digest(given.credentials, token):
            raise HTTPException(
                401,
                "send the token of api.token_file as `Authorization: Bearer TOKEN`",
                {"WWW-Authenticate": "Bearer"},
            )

    return check
