"""What operators want of a model: above the settings file, which stands above the store."""

from dataclasses import replace

from fastapi import APIRouter, Response

from contract.intent import Tier
from sidecar.api.auth import Authorized
from sidecar.api.preconditions import Conditional, etag
from sidecar.api.problems import problems
from sidecar.api.schemas import IntentBody, SpecBody
from sidecar.api.seen import seen, stored_model
from sidecar.core.fleet import Snapshot, StoredModel
from sidecar.core.overflow import crowding, hot_overflow
from sidecar.core.policy import Policy
from sidecar.core.spec import Spec, with_spec
from sidecar.errors import Impossible
from sidecar.ports import ModelStore, Stored
from sidecar.runtime.loop import Loop
from sidecar.runtime.records import Records
from sidecar.runtime.requests import Requests


def spec_routes(loop: Loop, requests: Requests, records: Records, store: ModelStore) -> APIRouter:
    router = APIRouter(prefix="/v1/models/{model}/spec", tags=["models"])

    @router.get("", summary="Look at a model's spec", responses=problems("unknown_model"))
    async def get_spec(model: str, response: Response) -> SpecBody:
        """Its `ETag` is for the next change; there is none before the first one."""
        before = await _unsaid(model)
        spec, stored = await records.spec(model)
        return _answer(loop, with_spec(before, spec), spec, stored, response)

    @router.patch(
        "",
        summary="Change a model's spec",
        responses=problems(
            "unknown_model", "stale", "precondition_required", "hot_models_do_not_fit"
        ),
    )
    async def patch_spec(
        model: str, patch: Spec, condition: Conditional, response: Response, caller: Authorized
    ) -> SpecBody:
        """JSON merge-patch: null leaves a field to the settings file and the store."""
        before = await _unsaid(model)
        said, stored = await records.spec(model)
        expect = condition.expect(stored)
        spec = said.patched(patch)
        wanted = with_spec(before, spec)
        _refuse_overflow(seen(loop), loop.policy, wanted)
        stored = await requests.set_spec(model, spec, expect=expect, actor=caller.name)
        return _answer(loop, wanted, spec, stored, response)

    async def _unsaid(model: str) -> StoredModel:
        """The model as settings file and store have it."""
        models, _ = await store.scan()
        return stored_model(models, model)

    return router


def _refuse_overflow(snapshot: Snapshot, policy: Policy, wanted: StoredModel) -> None:
    """A model that becomes hot has to fit beside those that are."""
    before = snapshot.models.get(wanted.name)
    if wanted.tier is not Tier.HOT or (before is not None and before.tier is Tier.HOT):
        return
    for overflow in hot_overflow(_with(snapshot, wanted), policy):
        if wanted.name in overflow.by_model:
            raise Impossible(
                "hot_models_do_not_fit",
                str(overflow),
                device=overflow.device,
                needed_bytes=overflow.needed_bytes,
                budget_bytes=overflow.budget_bytes,
            )


def _with(snapshot: Snapshot, wanted: StoredModel) -> Snapshot:
    return replace(snapshot, models={**snapshot.models, wanted.name: wanted})


def _answer(
    loop: Loop, wanted: StoredModel, spec: Spec, stored: Stored | None, response: Response
) -> SpecBody:
    if stored is not None:
        response.headers["ETag"] = etag(stored)
    is_hot = loop.snapshot is not None and wanted.tier is Tier.HOT
    crowded = crowding(_with(seen(loop), wanted), loop.policy) if is_hot else ()
    return SpecBody(
        model=wanted.name,
        overrides=spec,
        effective=IntentBody.model_validate(wanted.intent),
        warnings=[str(each) for each in crowded],
    )
