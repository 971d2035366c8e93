"""What was decided, by which policy, and what another budget would change."""

import asyncio

from fastapi import APIRouter

from sidecar.api.idempotency import OncePerKey
from sidecar.api.planning_schemas import PlanBody, PolicyBody, WhatIfBody, WhatIfRequest
from sidecar.api.problems import problems
from sidecar.api.seen import seen, stored_model
from sidecar.core.what_if import what_if
from sidecar.runtime.loop import Loop


def planning_routes(loop: Loop) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["planning"], route_class=OncePerKey)

    @router.get("/plans", summary="Look at the present plan", responses=problems())
    async def get_plan() -> PlanBody:
        """What is recorded and done since the last look, and what does not fit."""
        seen(loop)
        return PlanBody.of(loop.plan)

    @router.post("/plans", summary="Plan with another budget", responses=problems("unknown_model"))
    async def post_what_if(body: WhatIfRequest) -> WhatIfBody:
        """Which models would be held, and what that would save; nothing is changed."""
        snapshot = seen(loop)
        for model in body.load:
            stored_model(snapshot.models, model)
        found = await asyncio.to_thread(
            what_if, snapshot, loop.policy, loop.now_s, budgets=body.budgets, load=body.load
        )
        return WhatIfBody.of(found)

    @router.get("/policy", summary="Look at the policy", responses=problems())
    async def get_policy() -> PolicyBody:
        """As the settings have it; `profile` is the one that holds now."""
        return PolicyBody.of(loop.policy, loop.profile())

    return router
