"""Models, and what is to become of their requests."""

from collections.abc import Mapping
from typing import Any

from pilotlight.client import wire
from pilotlight.client.bodies import (
    EnsuredBody,
    ExplanationBody,
    ModelBody,
    ModelList,
    OperationBody,
    Recording,
    RecordingBody,
    Spec,
    SpecBody,
    Steering,
    SteeringBody,
    Tier,
    Warmth,
)
from pilotlight.client.resource import Resource, S, asks, lists
from pilotlight.client.steps import Steps, call, change, changed, do, ensured
from pilotlight.client.streams import Pages, pages_of


class Models(Resource[S]):
    """`client.models`."""

    @lists
    def list(
        self, *, tier: Tier | None = None, warmth: Warmth | None = None, page_size: int = 100
    ) -> Pages[ModelBody]:
        """Every model in the store, or those of a tier or warmth, by name."""
        return pages_of(
            "/v1/models",
            ModelList,
            lambda page: page.models,
            tier=tier,
            warmth=warmth,
            page_size=page_size,
        )

    @asks
    def get(self, model: str) -> Steps[ModelBody]:
        """Tier, warmth, versions, and why it is as it is."""
        return call(wire.get(wire.path("/v1/models/{model}", model=model)), ModelBody)

    @asks
    def explain(self, model: str) -> Steps[ExplanationBody]:
        """What holding the model costs and saves, and what a load would evict now."""
        return call(wire.get(wire.path("/v1/models/{model}:explain", model=model)), ExplanationBody)

    @asks
    def ensure(self, model: str, *, timeout_s: float = 30.0) -> Steps[EnsuredBody]:
        """Return when the model answers, loading it if need be. It may leave again.

        Raises:
            TimedOut: it does not answer in time.
            Quarantined: it rests after failures.
            DoesNotFit: nothing that is in the way may leave.
        """
        return ensured(model, timeout_s)

    @asks
    def load(self, model: str) -> Steps[OperationBody]:
        """Load and warm the model, and keep it so until `unload`."""
        return call(wire.post(wire.path("/v1/models/{model}:load", model=model)), OperationBody)

    @asks
    def unload(self, model: str) -> Steps[OperationBody]:
        """Unload a model that is not hot; the operation ends when Triton has freed it."""
        return call(wire.post(wire.path("/v1/models/{model}:unload", model=model)), OperationBody)

    @asks
    def rollback(self, model: str) -> Steps[OperationBody]:
        """Move the traffic back to the version before."""
        return call(wire.post(wire.path("/v1/models/{model}:rollback", model=model)), OperationBody)

    @asks
    def unquarantine(self, model: str) -> Steps[None]:
        """Let the model be loaded again as if it had never failed."""
        return do(wire.post(wire.path("/v1/models/{model}:unquarantine", model=model)))

    @asks
    def clear_rejection(self, model: str, version: int) -> Steps[None]:
        """Let a version that was refused be released again as it is."""
        where = "/v1/models/{model}/versions/{version}/rejection"
        return do(wire.delete(wire.path(where, model=model, version=version)))

    @asks
    def spec(self, model: str) -> Steps[SpecBody]:
        """What operators want of the model, and what holds."""
        return call(wire.get(_spec(model)), SpecBody)

    @asks
    def change_spec(
        self, model: str, patch: Spec, *, read: SpecBody | None = None
    ) -> Steps[SpecBody]:
        """Change what the patch mentions; None leaves a field to the settings and the store.

        `read` is what the change is made for; without it, what holds now.

        Raises:
            Stale: somebody else has changed it since.
            DoesNotFit: the model would be hot, and all hot ones do not fit together.
        """
        return changed("PATCH", _spec(model), patch, SpecBody, read)


class Traffic(Resource[S]):
    """`client.traffic`: where requests go. Needs the gateway."""

    @asks
    def get(self, model: str) -> Steps[SteeringBody]:
        """Where a model's requests are to go, and where they have gone."""
        return call(wire.get(_traffic(model)), SteeringBody)

    @asks
    def set(
        self, model: str, steering: Steering, *, read: SteeringBody | None = None
    ) -> Steps[SteeringBody]:
        """Replace what was said before; `read` as for `models.change_spec`."""
        return changed("PUT", _traffic(model), steering, SteeringBody, read)

    @asks
    def end(self, model: str, *, read: SteeringBody | None = None) -> Steps[None]:
        """Let requests that name no version meet the serving one again."""
        return _gone(_traffic(model), read)


class Recordings(Resource[S]):
    """`client.recordings`: requests that are kept, to try new versions with."""

    @asks
    def get(self, model: str) -> Steps[RecordingBody]:
        """Which of a model's requests are to be kept, and how many are."""
        return call(wire.get(_recording(model)), RecordingBody)

    @asks
    def set(
        self, model: str, recording: Recording, *, read: RecordingBody | None = None
    ) -> Steps[RecordingBody]:
        """Replace what was said before; `read` as for `models.change_spec`."""
        return changed("PUT", _recording(model), recording, RecordingBody, read)

    @asks
    def end(self, model: str, *, read: RecordingBody | None = None) -> Steps[None]:
        """Forget all requests that were kept."""
        return _gone(_recording(model), read)

    @asks
    def keep(
        self, model: str, request: Mapping[str, Any] | bytes, *, json_bytes: int | None = None
    ) -> Steps[RecordingBody]:
        """Keep a request for inference, as Triton takes it over HTTP.

        `json_bytes`: where raw tensors follow the JSON, how long that is.
        """
        headers = {"Inference-Header-Content-Length": str(json_bytes)} if json_bytes else None
        where = wire.path("/v1/models/{model}/recording/requests", model=model)
        return call(wire.post(where, request, headers=headers), RecordingBody)


def _gone(where: str, read: SteeringBody | RecordingBody | None) -> Steps[None]:
    yield from change("DELETE", where, read=read)


def _spec(model: str) -> str:
    return wire.path("/v1/models/{model}/spec", model=model)


def _traffic(model: str) -> str:
    return wire.path("/v1/models/{model}/traffic", model=model)


def _recording(model: str) -> str:
    return wire.path("/v1/models/{model}/recording", model=model)
