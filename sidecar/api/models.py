"""Models: what is the case, and why."""

from fastapi import APIRouter

from contract.intent import Tier
from sidecar.api.front import Front, counted
from sidecar.api.paging import Paged
from sidecar.api.planning_schemas import ExplanationBody
from sidecar.api.problems import problems
from sidecar.api.schemas import ModelBody, ModelList
from sidecar.api.seen import seen, stored_model, weighed
from sidecar.core.explain import explain
from sidecar.core.figures import Weighing
from sidecar.core.status import Warmth, model_status
from sidecar.core.status import warmth as warmth_of
from sidecar.runtime.loop import Loop


def model_routes(loop: Loop, front: Front | None) -> APIRouter:
    router = APIRouter(prefix="/v1/models", tags=["models"])

    @router.get("", summary="List models", responses=problems("invalid_page_token"))
    async def list_models(
        page: Paged, tier: Tier | None = None, warmth: Warmth | None = None
    ) -> ModelList:
        """Every model in the store, by name."""
        weighing = weighed(loop)
        snapshot = weighing.snapshot
        found, following = page.cut(
            (
                name
                for name, stored in snapshot.models.items()
                if tier in (None, stored.tier) and warmth in (None, warmth_of(snapshot, name))
            ),
            str,
        )
        models = [_body(weighing, name, front) for name in found]
        return ModelList(models=models, next_page_token=following)

    @router.get(
        "/{model}:explain",
        summary="Explain why a model is warm or cold",
        responses=problems("unknown_model"),
    )
    async def get_explanation(model: str) -> ExplanationBody:
        """What the planner weighs: demand, cost, price, and what a load would evict now."""
        snapshot = seen(loop)
        stored_model(snapshot.models, model)
        found = explain(snapshot, loop.policy, loop.now_s, model)
        return ExplanationBody.of(found, counted(front, snapshot, model))

    @router.get("/{model}", summary="Look at a model", responses=problems("unknown_model"))
    async def get_model(model: str) -> ModelBody:
        """One model: tier, warmth, versions, and why it is as it is."""
        weighing = weighed(loop)
        stored_model(weighing.snapshot.models, model)
        return _body(weighing, model, front)

    return router


def _body(weighing: Weighing, model: str, front: Front | None) -> ModelBody:
    snapshot = weighing.snapshot
    traffic = counted(front, snapshot, model)
    return ModelBody.of(model_status(snapshot, model), weighing.figures(model), traffic)
