"""Which of a model's requests are kept, for the comparison of two versions."""

from typing import Annotated, Self

from fastapi import APIRouter, Header, Request, Response
from pydantic import BaseModel

from contract.config import is_stateful
from contract.errors import ContractError
from contract.kserve import from_http
from contract.manifest import Manifest
from sidecar.api.auth import Authorized
from sidecar.api.front import Front
from sidecar.api.idempotency import OncePerKey
from sidecar.api.preconditions import Conditional, tag
from sidecar.api.problems import problems
from sidecar.api.seen import refuse_unknown, seen, stored_model
from sidecar.core.fleet import StoredModel
from sidecar.core.recording import Drops, Recorded, Recording
from sidecar.core.routing import Routes
from sidecar.errors import Conflict, Impossible
from sidecar.runtime.compare import LARGEST_BYTES
from sidecar.runtime.loop import Loop
from sidecar.runtime.record import end_recording, keep, set_recording
from sidecar.runtime.world import World

_KSERVE = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["inputs"],
                    "properties": {"inputs": {"type": "array", "items": {"type": "object"}}},
                },
                "example": {
                    "inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}]
                },
            }
        },
    }
}


class RecordingBody(BaseModel):
    """`said` is what was asked for. `copied` is the percentage that the gateway copies to us now.

    `requests` are kept, in `bytes` bytes together. `dropped` are copies that are not, by why, since
    the sidecar began; `reason` has more about the last one.
    """

    model: str
    said: Recording
    copied: int
    requests: int
    bytes: int
    dropped: dict[str, int]
    reason: str | None

    @classmethod
    def of(
        cls, model: str, said: Recording, routes: Routes | None, kept: Recorded, drops: Drops
    ) -> Self:
        return cls(
            model=model,
            said=said,
            copied=routes.samples.get(model, 0) if routes else 0,
            requests=kept.requests,
            bytes=kept.bytes,
            dropped={why.value: count for why, count in sorted(drops.counts.items())},
            reason=drops.reason,
        )


def recording_routes(loop: Loop, world: World, front: Front | None) -> APIRouter:
    router = APIRouter(
        prefix="/v1/models/{model}/recording", tags=["gateway"], route_class=OncePerKey
    )

    @router.get("", summary="Look at a model's recording", responses=problems("unknown_model"))
    async def get_recording(model: str, response: Response) -> RecordingBody:
        """Its `ETag` is for the next change; there is none while nothing is said."""
        _, stored = await world.records.recording(model)
        refuse_unknown(seen(loop), model, stored)
        return await _answer(model, response)

    @router.put(
        "",
        summary="Record a model's requests",
        responses=problems(
            "no_gateway", "unknown_model", "stale", "precondition_required", "stateful_model"
        ),
    )
    async def put_recording(
        model: str,
        recording: Recording,
        condition: Conditional,
        response: Response,
        caller: Authorized,
    ) -> RecordingBody:
        """Replaces what was said before. With more to redact, what was kept is forgotten."""
        models, _ = await world.store.scan()
        wanted = stored_model(models, model)
        _, before = await world.records.recording(model)
        expect = condition.expect(before)
        _refuse_impossible(wanted, recording, front)
        manifest = await world.store.manifest(model, wanted.newest)
        _refuse_unknown_inputs(manifest, recording)
        await set_recording(world, model, recording, expect=expect, actor=caller.name)
        return await _answer(model, response)

    @router.delete(
        "",
        summary="End a model's recording",
        status_code=204,
        responses=problems("unknown_model", "stale", "precondition_required"),
    )
    async def delete_recording(model: str, condition: Conditional, caller: Authorized) -> None:
        """Forgets all requests that were kept."""
        _, stored = await world.records.recording(model)
        refuse_unknown(seen(loop), model, stored)
        expect = condition.expect(stored)
        await end_recording(world, model, expect=expect, actor=caller.name)

    @router.post(
        "/requests",
        summary="Hand over a request",
        responses=problems("unknown_model", "stateful_model"),
        openapi_extra=_KSERVE,
    )
    async def post_request(
        model: str,
        request: Request,
        response: Response,
        inference_header_content_length: Annotated[
            int | None, Header(description="Bytes of the JSON, when tensors follow it raw.")
        ] = None,
    ) -> RecordingBody:
        """Keep a request for inference, as Triton takes it over HTTP, also without a gateway."""
        models, _ = await world.store.scan()
        _refuse_stateful(stored_model(models, model))
        body = await request.body()
        try:
            await keep(world, model, from_http(_bounded(body), inference_header_content_length))
        except ContractError as error:
            raise Impossible("invalid_request", str(error)) from error
        return await _answer(model, response)

    async def _answer(model: str, response: Response) -> RecordingBody:
        said, stored = await world.records.recording(model)
        tag(response, stored)
        kept = await world.recordings.recorded(model)
        drops = front.drops(model) if front else Drops()
        return RecordingBody.of(model, said, world.router.applied, kept, drops)

    return router


def _refuse_impossible(wanted: StoredModel, recording: Recording, front: Front | None) -> None:
    """Raises Impossible or Conflict: the gateway cannot copy the model's requests."""
    if recording.percent == 0:
        return
    _refuse_stateful(wanted)
    if front is None:
        raise Conflict(
            "no_gateway",
            "clients speak to Triton itself, and nobody can copy their requests; add a section "
            "`gateway` to the settings and run Envoy, or hand requests over with POST",
        )


def _refuse_stateful(wanted: StoredModel) -> None:
    if any(is_stateful(each.config) for each in wanted.versions.values()):
        raise Impossible(
            "stateful_model",
            f"{wanted.name} keeps state between the requests of a sequence, which a request that "
            "is asked again would change; its versions are compared with golden samples alone",
        )


def _refuse_unknown_inputs(manifest: Manifest, recording: Recording) -> None:
    have = [spec.name for spec in manifest.signature.inputs]
    if unknown := [name for name in recording.redact if name not in have]:
        raise Impossible(
            "invalid_request",
            f"{manifest.model} has no input {', '.join(unknown)} to redact; it has "
            f"{', '.join(have)}",
        )


def _bounded(body: bytes) -> bytes:
    if len(body) > LARGEST_BYTES:
        raise Impossible(
            "invalid_request",
            f"the request has {len(body)} bytes; at most {LARGEST_BYTES} are kept of one",
        )
    return body
