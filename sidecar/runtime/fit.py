"""Settings that cannot be met are told at the start."""

from sidecar.core.fleet import Profile, Snapshot
from sidecar.core.overflow import hot_overflow
from sidecar.core.policy import Policy
from sidecar.core.spec import with_specs
from sidecar.errors import InvalidSettings
from sidecar.runtime.world import World


async def refuse_overflow(world: World, policy: Policy, profile: Profile) -> None:
    """By what manifests declare, against the settings' budgets.

    What was learned since must not keep a sidecar from starting again: then readiness says it.

    Raises:
        InvalidSettings: the hot models do not fit into them together.
        StateUnavailable: the record cannot be read.
    """
    models, _ = await world.store.scan()
    records = world.records
    known = Snapshot(
        models=with_specs(models, await records.specs()),
        servers={},
        serving=await records.serving(),
        profile=profile,
    )
    if found := hot_overflow(known, policy):
        raise InvalidSettings("; ".join(map(str, found)))
