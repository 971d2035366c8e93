"""What can be asked of releases: to begin, to go on, to stand still, to go back."""

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import APIRouter, Path, Response

from contract.layout import MAX_VERSION
from sidecar.api.auth import Authorized
from sidecar.api.idempotency import OncePerKey
from sidecar.api.operations import accepted
from sidecar.api.problems import problems
from sidecar.api.release_schemas import ReleaseRequest
from sidecar.api.releases import known_release
from sidecar.api.schemas import OperationBody
from sidecar.core.fleet import OperationKind
from sidecar.runtime.records import Records
from sidecar.runtime.releases import Releases

_ASKS = {
    OperationKind.PROMOTE: (
        "Promote",
        "Let a release that waits for a person go on; skip the rest of a shift, or of a soak.",
    ),
    OperationKind.PAUSE: (
        "Pause a release",
        "Let a release stay where it is; it still goes back when the version fails.",
    ),
    OperationKind.RESUME: ("Resume a release", "Let a release that was paused go on."),
    OperationKind.ABORT: (
        "Abort",
        "End a release with the version before; one that goes back, with the new version.",
    ),
}


def release_action_routes(releases: Releases, records: Records) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["releases"], route_class=OncePerKey)

    @router.post(
        "/models/{model}/releases",
        summary="Release a version",
        status_code=202,
        responses=problems(
            "unknown_model",
            "unknown_version",
            "already_serving",
            "release_active",
            "release_elsewhere",
            "nothing_to_shift",
            "no_gateway",
            "not_alone",
            "stateful_model",
            "signature_changed",
            "version_rejected",
        ),
    )
    async def begin(
        model: str, body: ReleaseRequest, response: Response, caller: Authorized
    ) -> OperationBody:
        """Prove a version beside the one that serves, then move the traffic to it."""
        operation = await releases.begin(
            model,
            body.version,
            actor=caller.name,
            strategy=body.strategy,
            supersede=body.supersede,
        )
        return accepted(operation, response)

    @router.post(
        "/models/{model}:rollback",
        summary="Roll back",
        status_code=202,
        responses=problems("unknown_model", "nothing_to_roll_back", "release_active"),
    )
    async def roll_back_model(model: str, response: Response, caller: Authorized) -> OperationBody:
        """Move the traffic back to the version before; in place while that is loaded.

        Releases that were refused since stand in nobody's way. `release` of the answer is the one
        that goes back.
        """
        return accepted(await releases.roll_back(model, actor=caller.name), response)

    @router.post(
        "/releases/{release_id}:rollback",
        summary="Roll a release back",
        status_code=202,
        responses=problems(
            "unknown_release", "unknown_model", "nothing_to_roll_back", "release_active"
        ),
    )
    async def roll_back(release_id: str, response: Response, caller: Authorized) -> OperationBody:
        """Move the traffic back to the version before: the model's newest, or what serves now."""
        release = await known_release(records, release_id)
        asked = await releases.roll_back(release.model, actor=caller.name, release_id=release_id)
        return accepted(asked, response)

    @router.delete(
        "/models/{model}/versions/{version}/rejection",
        summary="Clear a version's rejection",
        status_code=204,
        responses=problems("not_rejected"),
    )
    async def clear_rejection(
        model: str, version: Annotated[int, Path(ge=1, le=MAX_VERSION)], caller: Authorized
    ) -> None:
        """Let a version that was refused be released again as it is."""
        await releases.clear_rejection(model, version, actor=caller.name)

    for kind, (summary, description) in _ASKS.items():
        router.post(
            f"/releases/{{release_id}}:{kind}",
            summary=summary,
            description=description,
            status_code=202,
            responses=problems("unknown_release", "release_elsewhere"),
        )(_asking(releases, kind))
    return router


def _asking(releases: Releases, kind: OperationKind) -> Callable[..., Awaitable[OperationBody]]:
    async def ask(release_id: str, response: Response, caller: Authorized) -> OperationBody:
        return accepted(await releases.ask(release_id, kind, actor=caller.name), response)

    return ask
