"""Memory that failed loads keep: measured, and given back by a restart where that is wanted."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from sidecar.core.memory import CPU, Device, Reading
from sidecar.core.policy import Recycle
from tests.builders import MIB, publish
from tests.fakes.meter import FakeMeter
from tests.fakes.triton import FakeTriton
from tests.unit.sidecar.rig import Rig, run

LEAK_BYTES = 64 * MIB


class LeakyMeter(FakeMeter):
    """A server that keeps memory of each load of `bad`."""

    def __init__(self, server: FakeTriton) -> None:
        super().__init__()
        self._leaking = server

    async def read(self) -> Mapping[Device, Reading]:
        reading = (await super().read())[CPU]
        leaked = self._leaking.calls.count("load bad") * LEAK_BYTES
        return {CPU: replace(reading, server_bytes=(reading.server_bytes or 0) + leaked)}


def leaking(rig: Rig, recycle: Recycle) -> None:
    rig.policy = replace(rig.policy, recycle=recycle, leak_limit_bytes=100 * MIB)
    rig.meter = LeakyMeter(rig.serving)
    publish(rig.store, "good", 1, tier="hot")
    publish(rig.store, "bad", 1, tier="hot")
    rig.start()


def test_a_server_that_leaks_is_restarted_and_all_comes_back(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        leaking(rig, Recycle.DO)
        await rig.until(lambda: "server_ended" in rig.told(), "the restart")
        await rig.until(lambda: rig.serving.ready("good") == {1}, "the other model is back")
        assert rig.told().count("memory_leaked") >= 2

    run(tmp_path, story, serving=["load bad: refused 'Internal: no' x99"])


def test_a_restart_is_only_proposed_unless_it_is_wanted(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        leaking(rig, Recycle.PROPOSE)
        told = rig.told
        await rig.until(lambda: told().count("memory_leaked") >= 3, "leaks are told", limit_s=900)
        assert "server_ended" not in rig.told()
        assert rig.sidecar.world.board.leaked_bytes >= 3 * LEAK_BYTES

    run(tmp_path, story, serving=["load bad: refused 'Internal: no' x99"])
