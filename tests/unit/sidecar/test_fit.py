"""Settings that cannot be met are refused at the start."""

from dataclasses import replace
from pathlib import Path

import pytest

from sidecar.core.fleet import Profile
from sidecar.core.learned import Learned
from sidecar.core.memory import CPU
from sidecar.core.spec import Spec
from sidecar.errors import InvalidSettings
from sidecar.runtime.fit import refuse_overflow
from tests.builders import MIB, publish
from tests.unit.sidecar.rig import Rig, run


def test_a_budget_too_small_for_the_hot_models_is_refused_with_the_sum(tmp_path: Path) -> None:
    """1 MiB each, of which one was learned to hold 3."""

    async def story(rig: Rig) -> None:
        publish(rig.store, "a", 1, tier="hot")
        publish(rig.store, "b", 1, tier="cold")
        rig.start()
        world = rig.sidecar.world
        policy = replace(rig.policy, budgets={CPU: 3 * MIB}, headroom=0.0)
        await refuse_overflow(world, policy, Profile.PRODUCTION)

        await world.records.set_spec("b", Spec.model_validate({"tier": "hot"}), expect=None)
        await refuse_overflow(world, policy, Profile.PRODUCTION)
        await world.records.set_learned("b", 1, Learned(loads=1, held_bytes={CPU: 3 * MIB}))
        await refuse_overflow(world, policy, Profile.PRODUCTION)
        policy = replace(policy, budgets={CPU: MIB})
        with pytest.raises(InvalidSettings, match=r"need 2.0 MiB on cpu, where 1.0 MiB are"):
            await refuse_overflow(world, policy, Profile.PRODUCTION)

        await refuse_overflow(world, policy, Profile.DEVELOPMENT)
        await refuse_overflow(world, rig.policy, Profile.PRODUCTION)

    run(tmp_path, story)
