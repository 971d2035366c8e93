"""The last look at the fleet, as every answer needs it."""

from collections.abc import Mapping

from contract.strict import nearest
from sidecar.core.figures import Weighing
from sidecar.core.fleet import Snapshot, StoredModel
from sidecar.errors import StateUnavailable, UnknownObject
from sidecar.ports import Stored
from sidecar.runtime.loop import Loop


def seen(loop: Loop) -> Snapshot:
    """Raises StateUnavailable before the first look."""
    if loop.snapshot is None:
        raise StateUnavailable(loop.problem or "nothing has been seen yet")
    return loop.snapshot


def stored_model(models: Mapping[str, StoredModel], model: str) -> StoredModel:
    """Raises UnknownObject when the store lacks it."""
    if model not in models:
        raise UnknownObject(
            "unknown_model", f"no model {model!r} in the store; {nearest(model, models)}"
        )
    return models[model]


def refuse_unknown(snapshot: Snapshot, model: str, said: Stored | None) -> None:
    """What was said of a model that has vanished from the store can be read and ended."""
    if said is None:
        stored_model(snapshot.models, model)


def weighed(loop: Loop) -> Weighing:
    return Weighing(seen(loop), loop.policy, loop.now_s)
