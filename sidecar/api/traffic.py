"""Where a model's requests go: shares of versions, and copies for canary."""

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import APIRouter, Depends, Response

from contract.config import is_stateful
from sidecar.api.auth import Authorized
from sidecar.api.front import Front
from sidecar.api.preconditions import Conditional, tag
from sidecar.api.problems import problems
from sidecar.api.seen import refuse_unknown, seen, stored_model
from sidecar.api.traffic_schemas import SteeringBody
from sidecar.core.fleet import Server, StoredModel
from sidecar.core.steering import Steering
from sidecar.core.traffic import Traffic
from sidecar.errors import Conflict, Impossible
from sidecar.runtime.loop import Loop
from sidecar.runtime.requests import Requests, refuse_absent_version
from sidecar.runtime.world import World


def traffic_routes(loop: Loop, requests: Requests, world: World, front: Front | None) -> APIRouter:
    router = APIRouter(prefix="/v1/models/{model}/traffic", tags=["gateway"])
    there = Depends(_needing(front))

    @router.get(
        "",
        summary="Look at where a model's requests go",
        responses=problems("no_gateway", "unknown_model"),
    )
    async def get_traffic(
        model: str, gateway: Annotated[Front, there], response: Response
    ) -> SteeringBody:
        """Its `ETag` is for the next change; there is none while nothing is said."""
        said, stored = await world.records.steering(model)
        refuse_unknown(seen(loop), model, stored)
        tag(response, stored)
        return _answer(model, said, gateway)

    @router.put(
        "",
        summary="Steer a model's requests",
        responses=problems(
            "no_gateway",
            "no_mirror",
            "unknown_model",
            "unknown_version",
            "stale",
            "precondition_required",
            "stateful_model",
        ),
    )
    async def put_traffic(
        model: str,
        steering: Steering,
        condition: Conditional,
        *,
        gateway: Annotated[Front, there],
        response: Response,
        caller: Authorized,
    ) -> SteeringBody:
        """Replaces what was said before. No request fails for it."""
        models, _ = await world.store.scan()
        wanted = stored_model(models, model)
        _, before = await world.records.steering(model)
        expect = condition.expect(before)
        _refuse_impossible(wanted, steering, gateway)
        stored = await requests.set_steering(model, steering, expect=expect, actor=caller.name)
        tag(response, stored)
        return _answer(model, steering, gateway)

    @router.delete(
        "",
        summary="End a model's steering",
        status_code=204,
        dependencies=[there],
        responses=problems("no_gateway", "unknown_model", "stale", "precondition_required"),
    )
    async def delete_traffic(model: str, condition: Conditional, caller: Authorized) -> None:
        """Requests that name no version meet the serving one again, and canary gets no copy."""
        _, stored = await world.records.steering(model)
        refuse_unknown(seen(loop), model, stored)
        expect = condition.expect(stored)
        if expect is not None:
            await requests.end_steering(model, expect=expect, actor=caller.name)

    def _answer(model: str, said: Steering, gateway: Front) -> SteeringBody:
        snapshot = seen(loop)
        answering = snapshot.servers[Server.SERVING].answers(model)
        serving = snapshot.serving.get(model)
        return SteeringBody.of(
            model,
            said,
            world.router.applied,
            loadable=answering if serving is None else answering | {serving},
            traffic=snapshot.traffic.get(model, Traffic()),
            comparison=gateway.comparison(model),
        )

    return router


def _needing(front: Front | None) -> Callable[[], Awaitable[Front]]:
    async def gateway() -> Front:
        if front is None:
            raise Conflict(
                "no_gateway",
                "clients speak to Triton itself, and nobody can steer that; add a section "
                "`gateway` to the settings and run Envoy",
            )
        return front

    return gateway


def _refuse_impossible(wanted: StoredModel, steering: Steering, front: Front) -> None:
    """Raises UnknownObject, Impossible or Conflict: the gateway cannot do what is said."""
    for version in steering.weights:
        refuse_absent_version(wanted, version)
    is_steered = bool(steering.weights) or steering.mirror > 0
    if is_steered and any(is_stateful(each.config) for each in wanted.versions.values()):
        raise Impossible(
            "stateful_model",
            f"{wanted.name} keeps state between the requests of a sequence, and all of one have "
            "to meet the same version; release the next version without steering",
        )
    if steering.mirror and not front.can_mirror:
        raise Conflict(
            "no_mirror",
            "the gateway does not know where canary takes requests over HTTP; say so in "
            "servers.canary.http",
        )
