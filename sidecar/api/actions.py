"""What can be asked for a model: to load it, to wait for it, to be rid of it."""

import time
from typing import Annotated

from fastapi import APIRouter, Query, Response

from sidecar.api.auth import Authorized
from sidecar.api.durations import Duration
from sidecar.api.idempotency import GIVEN_UP_AFTER_S, OncePerKey
from sidecar.api.operations import accepted
from sidecar.api.problems import problems
from sidecar.api.schemas import EnsuredBody, OperationBody
from sidecar.runtime.requests import Requests

# A request must not outlive its idempotency key; who still has to wait asks again.
LONGEST_WAIT_S = GIVEN_UP_AFTER_S


def action_routes(requests: Requests) -> APIRouter:
    router = APIRouter(prefix="/v1/models", tags=["models"], route_class=OncePerKey)

    @router.post(
        "/{model}:load", summary="Load", status_code=202, responses=problems("unknown_model")
    )
    async def load(model: str, response: Response, caller: Authorized) -> OperationBody:
        """Load and warm the model, and keep it so until it is asked to be unloaded."""
        return accepted(await requests.load(model, actor=caller.name), response)

    @router.post(
        "/{model}:unload",
        summary="Unload",
        status_code=202,
        responses=problems("unknown_model", "model_is_hot", "release_active"),
    )
    async def unload(model: str, response: Response, caller: Authorized) -> OperationBody:
        """Unload a cold model; done when Triton has freed it."""
        return accepted(await requests.unload(model, actor=caller.name), response)

    @router.post(
        "/{model}:ensure",
        summary="Wait until a model answers",
        responses=problems(
            "unknown_model", "quarantined", "not_now", "deadline_passed", "insufficient_memory"
        ),
    )
    async def ensure(
        model: str,
        timeout: Annotated[Duration, Query(gt=0, le=LONGEST_WAIT_S)] = 30.0,  # noqa: ASYNC109  (the caller's)
    ) -> EnsuredBody:
        """Load the model if it is not loaded, as a first request does. It may leave again."""
        began_s = time.monotonic()
        heat = await requests.ensure(model, timeout_s=timeout)
        return EnsuredBody(model=model, outcome=heat, waited_s=time.monotonic() - began_s)

    @router.post(
        "/{model}:unquarantine",
        summary="End a quarantine",
        status_code=204,
        responses=problems("unknown_model", "not_quarantined"),
    )
    async def unquarantine(model: str, caller: Authorized) -> None:
        """Let the model be loaded again as if it had never failed."""
        await requests.unquarantine(model, actor=caller.name)

    return router
