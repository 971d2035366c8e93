"""Models: what is the case, and why."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query

from contract.intent import Tier
from sidecar.api.cold_starts import AuditedColdStarts
from sidecar.api.front import Front, counted
from sidecar.api.paging import Paged
from sidecar.api.planning_schemas import ExplanationBody
from sidecar.api.problems import problems
from sidecar.api.schemas import ModelBody, ModelList
from sidecar.api.seen import stored_model, weighed
from sidecar.core.explain import explain
from sidecar.core.figures import Weighing
from sidecar.core.status import Warmth, model_status
from sidecar.core.status import warmth as warmth_of
from sidecar.ports import Journal
from sidecar.runtime.loop import Loop

AT_ONCE = 100
"""Models; some milliseconds. Requests that wait for a load are not kept waiting by a long list."""


def model_routes(loop: Loop, front: Front | None, journal: Journal) -> APIRouter:
    router = APIRouter(prefix="/v1/models", tags=["models"])
    view = _View(loop, front, AuditedColdStarts(journal))

    @router.get("", summary="List models", responses=problems("invalid_page_token"))
    async def list_models(
        page: Paged,
        tier: Tier | None = None,
        warmth: Warmth | None = None,
        name: Annotated[
            list[str] | None, Query(description="Only these; give it as often as you like.")
        ] = None,
    ) -> ModelList:
        """Every model in the store, by name."""
        weighing = weighed(loop)
        snapshot = weighing.snapshot
        found, following = page.cut(
            (
                model
                for model, stored in snapshot.models.items()
                if (name is None or model in name)
                and tier in (None, stored.tier)
                and warmth in (None, warmth_of(snapshot, model))
            ),
            str,
        )
        return ModelList(models=await view.bodies(weighing, found), next_page_token=following)

    @router.get(
        "/{model}:explain",
        summary="Explain why a model is warm or cold",
        responses=problems("unknown_model"),
    )
    async def get_explanation(model: str) -> ExplanationBody:
        """What the planner weighs: demand, cost, price, and what a load would evict now."""
        weighing = weighed(loop)
        stored_model(weighing.snapshot.models, model)
        found = explain(weighing.snapshot, weighing.policy, weighing.now_s, model)
        (body,) = await view.bodies(weighing, [model])
        return ExplanationBody.of(found, body)

    @router.get("/{model}", summary="Look at a model", responses=problems("unknown_model"))
    async def get_model(model: str) -> ModelBody:
        """One model: tier, warmth, versions, and why it is as it is."""
        weighing = weighed(loop)
        stored_model(weighing.snapshot.models, model)
        (body,) = await view.bodies(weighing, [model])
        return body

    return router


class _View:
    """Models as they go over the wire."""

    def __init__(self, loop: Loop, front: Front | None, cold_starts: AuditedColdStarts) -> None:
        self._loop = loop
        self._front = front
        self._cold_starts = cold_starts

    async def bodies(self, weighing: Weighing, models: list[str]) -> list[ModelBody]:
        snapshot, now_s = weighing.snapshot, weighing.now_s
        cold_starts = await self._cold_starts.by_model(now_s)
        bodies = []
        for at, model in enumerate(models, 1):
            bodies.append(
                ModelBody.of(
                    model_status(snapshot, model, self._loop.plan.blocked),
                    weighing.figures(model),
                    counted(self._front, snapshot, model),
                    cold_starts=cold_starts.get(model),
                    now_s=now_s,
                )
            )
            if at % AT_ONCE == 0:
                await asyncio.sleep(0)
        return bodies
