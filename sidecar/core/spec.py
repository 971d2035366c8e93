"""What operators say of a model over REST: it stands above the settings file and the store."""

from collections.abc import Mapping
from dataclasses import replace

from contract.intent import Intent, Seconds, Tier
from contract.strict import Strict
from sidecar.core.fleet import StoredModel


class Spec(Strict):
    """Overrides of a model's intent; null leaves to the settings file and the store."""

    tier: Tier | None = None
    pin: bool | None = None
    priority: int | None = None
    idle_timeout_s: Seconds | None = None
    acceptable_cold_start_s: Seconds | None = None

    def patched(self, patch: "Spec") -> "Spec":
        """With what the patch mentions: JSON merge-patch, RFC 7396."""
        return self.model_copy(update=patch.model_dump(exclude_unset=True))

    def over(self, intent: Intent) -> Intent:
        return intent.model_copy(update=self.model_dump(exclude_none=True))


def with_spec(stored: StoredModel, spec: Spec) -> StoredModel:
    return replace(stored, intent=spec.over(stored.intent))


def with_specs(
    models: Mapping[str, StoredModel], specs: Mapping[str, Spec]
) -> Mapping[str, StoredModel]:
    said = {name: with_spec(models[name], spec) for name, spec in specs.items() if name in models}
    return {**models, **said} if said else models


def with_intents_of(
    before: Mapping[str, StoredModel], models: Mapping[str, StoredModel]
) -> Mapping[str, StoredModel]:
    """For a look at which the record cannot be read."""
    return {
        name: replace(stored, intent=before[name].intent) if name in before else stored
        for name, stored in models.items()
    }
