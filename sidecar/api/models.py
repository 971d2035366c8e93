"""Models: what is the case, and requests that change it."""

from fastapi import APIRouter, Response

from contract.intent import Tier
from contract.strict import nearest
from sidecar.api.auth import Authorized
from sidecar.api.idempotency import OncePerKey
from sidecar.api.paging import Paged
from sidecar.api.problems import problems
from sidecar.api.schemas import ModelBody, ModelList, OperationBody, ReleaseRequest
from sidecar.core.fleet import Operation, Snapshot
from sidecar.core.status import ModelStatus, Warmth, model_status
from sidecar.errors import StateUnavailable, UnknownObject
from sidecar.runtime.loop import Loop
from sidecar.runtime.requests import Requests


def model_routes(loop: Loop, requests: Requests) -> APIRouter:
    router = APIRouter(prefix="/v1/models", tags=["models"], route_class=OncePerKey)

    @router.get("", summary="List models", responses=problems("invalid_page_token"))
    async def list_models(
        page: Paged, tier: Tier | None = None, warmth: Warmth | None = None
    ) -> ModelList:
        """Every model in the store, by name."""
        seen = _seen(loop)
        statuses = (model_status(seen, name) for name in seen.models)
        found, following = page.cut(
            (
                status
                for status in statuses
                if tier in (None, status.tier) and warmth in (None, status.warmth)
            ),
            _name,
        )
        return ModelList(
            models=[ModelBody.of(status) for status in found], next_page_token=following
        )

    @router.get("/{model}", summary="Look at a model", responses=problems("unknown_model"))
    async def get_model(model: str) -> ModelBody:
        """One model: tier, warmth, versions, and why it is as it is."""
        seen = _seen(loop)
        if model not in seen.models:
            raise UnknownObject(
                "unknown_model", f"no model {model!r} in the store; {nearest(model, seen.models)}"
            )
        return ModelBody.of(model_status(seen, model))

    @router.post(
        "/{model}:load", summary="Load", status_code=202, responses=problems("unknown_model")
    )
    async def load(model: str, response: Response, caller: Authorized) -> OperationBody:
        """Load and warm the model, and keep it so until it is asked to be unloaded."""
        return _accepted(await requests.load(model, actor=caller.name), response)

    @router.post(
        "/{model}:unload",
        summary="Unload",
        status_code=202,
        responses=problems("unknown_model", "model_is_hot", "release_active"),
    )
    async def unload(model: str, response: Response, caller: Authorized) -> OperationBody:
        """Unload a cold model; done when Triton has freed it."""
        return _accepted(await requests.unload(model, actor=caller.name), response)

    @router.post(
        "/{model}/releases",
        summary="Release a version",
        status_code=202,
        responses=problems(
            "unknown_model",
            "unknown_version",
            "already_serving",
            "release_active",
            "signature_changed",
        ),
    )
    async def release(
        model: str, body: ReleaseRequest, response: Response, caller: Authorized
    ) -> OperationBody:
        """Prove a version on the canary server, then move the traffic to it."""
        operation = await requests.release(model, body.version, actor=caller.name)
        return _accepted(operation, response)

    @router.post(
        "/{model}:rollback",
        summary="Roll back",
        status_code=202,
        responses=problems("unknown_model", "nothing_to_roll_back"),
    )
    async def roll_back(model: str, response: Response, caller: Authorized) -> OperationBody:
        """Move the traffic back to the version before; in place while that is loaded."""
        return _accepted(await requests.roll_back(model, actor=caller.name), response)

    return router


def _name(status: ModelStatus) -> str:
    return status.name


def _seen(loop: Loop) -> Snapshot:
    if loop.snapshot is None:
        raise StateUnavailable(loop.problem or "nothing has been seen yet")
    return loop.snapshot


def _accepted(operation: Operation, response: Response) -> OperationBody:
    body = OperationBody.of(operation)
    response.headers["Location"] = body.location
    response.headers["Retry-After"] = "1"
    return body
