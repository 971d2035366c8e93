"""Models: what is the case, and requests that change it."""

from fastapi import APIRouter, Response

from contract.strict import nearest
from sidecar.api.problems import PROBLEM_RESPONSES
from sidecar.api.schemas import ModelBody, ModelList, OperationBody, ReleaseRequest
from sidecar.core.fleet import Operation, Snapshot
from sidecar.core.status import model_status
from sidecar.errors import StateUnavailable, UnknownObject
from sidecar.runtime.loop import Loop
from sidecar.runtime.requests import Requests

# Until callers say who they are by more than one shared token.
ACTOR = "api"


def model_routes(loop: Loop, requests: Requests) -> APIRouter:
    router = APIRouter(prefix="/v1/models", tags=["models"], responses=PROBLEM_RESPONSES)

    @router.get("")
    async def list_models() -> ModelList:
        """Every model in the store."""
        seen = _seen(loop)
        return ModelList(models=[ModelBody.of(model_status(seen, m)) for m in sorted(seen.models)])

    @router.get("/{model}")
    async def get_model(model: str) -> ModelBody:
        """One model: tier, warmth, versions, and why it is as it is."""
        seen = _seen(loop)
        if model not in seen.models:
            raise UnknownObject(
                "unknown_model", f"no model {model!r} in the store; {nearest(model, seen.models)}"
            )
        return ModelBody.of(model_status(seen, model))

    @router.post("/{model}:load", status_code=202)
    async def load(model: str, response: Response) -> OperationBody:
        """Load and warm the model, and keep it so until it is asked to be unloaded."""
        return _accepted(await requests.load(model, actor=ACTOR), response)

    @router.post("/{model}:unload", status_code=202)
    async def unload(model: str, response: Response) -> OperationBody:
        """Unload a cold model; done when Triton has freed it."""
        return _accepted(await requests.unload(model, actor=ACTOR), response)

    @router.post("/{model}/releases", status_code=202)
    async def release(model: str, body: ReleaseRequest, response: Response) -> OperationBody:
        """Prove a version on the canary server, then move the traffic to it."""
        return _accepted(await requests.release(model, body.version, actor=ACTOR), response)

    @router.post("/{model}:rollback", status_code=202)
    async def roll_back(model: str, response: Response) -> OperationBody:
        """Move the traffic back to the version before; in place while that is loaded."""
        return _accepted(await requests.roll_back(model, actor=ACTOR), response)

    return router


def _seen(loop: Loop) -> Snapshot:
    if loop.snapshot is None:
        raise StateUnavailable(loop.problem or "nothing has been seen yet")
    return loop.snapshot


def _accepted(operation: Operation, response: Response) -> OperationBody:
    body = OperationBody.of(operation)
    response.headers["Location"] = body.location
    response.headers["Retry-After"] = "1"
    return body
