"""The REST application. Health, metrics and the console's files are open; /v1 wants a token."""

from fastapi import Depends, FastAPI

from sidecar.api.actions import action_routes
from sidecar.api.audit import audit_routes
from sidecar.api.auth import Callers, authorized
from sidecar.api.console import caller_routes, console_routes
from sidecar.api.context import RequestContext
from sidecar.api.control import control_routes
from sidecar.api.devices import device_routes
from sidecar.api.document import complete_document
from sidecar.api.events import event_routes
from sidecar.api.front import Front
from sidecar.api.gateway import gateway_routes
from sidecar.api.guard import Guard
from sidecar.api.health import health_routes
from sidecar.api.idempotency import Answers
from sidecar.api.models import model_routes
from sidecar.api.operations import operation_routes
from sidecar.api.planning import planning_routes
from sidecar.api.problems import add_problem_handlers
from sidecar.api.recording import recording_routes
from sidecar.api.release_actions import release_action_routes
from sidecar.api.releases import release_routes
from sidecar.api.replica import replica_routes
from sidecar.api.specs import spec_routes
from sidecar.api.traffic import traffic_routes
from sidecar.api.trains import train_routes
from sidecar.ports import StateStore
from sidecar.runtime.gateway_gauges import GatewayGauges
from sidecar.runtime.loop import Loop
from sidecar.runtime.releases import Releases
from sidecar.runtime.requests import Requests
from sidecar.runtime.trains import Trains
from sidecar.runtime.world import World


def create_app(
    world: World,
    loop: Loop,
    state: StateStore,
    callers: Callers,
    front: Front | None = None,
) -> FastAPI:
    """`front` is what there is to know of the gateway; None without one."""
    app = FastAPI(
        title="Pilotlight",
        summary="What Triton holds, why, and how a new version gets its traffic.",
        version="1",
        docs_url=None,
        redoc_url=None,
    )
    app.state.callers = callers
    app.state.answers = Answers(state)
    app.add_middleware(Guard)
    app.add_middleware(RequestContext)
    add_problem_handlers(app)
    app.include_router(health_routes(loop, world))
    app.include_router(console_routes())
    if front is not None:
        world.telemetry.registry.register(GatewayGauges(world.router, world.waiting))
    requests = Requests(world, loop.profile)
    for routes in (
        model_routes(loop, front, world.telemetry.journal),
        action_routes(requests),
        release_action_routes(Releases(world, requests), world.records),
        release_routes(loop, world),
        train_routes(Trains(world)),
        spec_routes(loop, requests, world.records, world.store),
        traffic_routes(loop, requests, world, front),
        recording_routes(loop, world, front),
        gateway_routes(loop, world, front),
        device_routes(loop),
        replica_routes(loop, world.router),
        planning_routes(loop),
        control_routes(loop, requests, world.records),
        caller_routes(),
        operation_routes(loop, world.records),
        event_routes(world.telemetry),
        audit_routes(world.telemetry.journal),
    ):
        app.include_router(routes, dependencies=[Depends(authorized)])
    complete_document(app)
    return app
