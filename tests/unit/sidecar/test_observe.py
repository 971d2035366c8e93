"""One look at everything: what a server that hangs costs, and what changes meanwhile."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from contract.layout import Store
from sidecar.adapters.stage import StageFolder
from sidecar.core.actions import SaveRelease
from sidecar.core.fleet import Profile, Server, Snapshot, Verification
from sidecar.core.planner import plan
from sidecar.core.release import ReleaseState
from sidecar.errors import StateUnavailable
from sidecar.runtime.observe import PATIENCE_S, PATIENCE_WITH_LOST_S, observe
from sidecar.runtime.releases import Releases
from sidecar.runtime.requests import Requests
from tests.builders import CANARY, POLICY, SERVING, publish
from tests.fakes.state import FakeState
from tests.fakes.triton import FakeTriton
from tests.fakes.virtual_time import run_virtually
from tests.unit.sidecar.rig import Rig, run
from tests.unit.sidecar.test_cycles import come_to, release_2, serving_version_1
from tests.unit.sidecar.test_requests import world_of

S = ReleaseState
HANGS = "check: slow 60s x99"


class Yard:
    """Two servers with nothing on them; `m` is in the store."""

    def __init__(self, root: Path, **faults: str) -> None:
        for server in Server:
            (root / server).mkdir()
        self.store = Store(root / "store")
        publish(self.store, "m", 1, tier="hot")
        self.state = FakeState()
        self.tritons = {
            server: FakeTriton(
                root / server, name=server, faults=[faults[server]] if server in faults else []
            )
            for server in Server
        }
        self.world = world_of(
            self.store,
            self.state,
            servers=self.tritons,
            stages={server: StageFolder(root / server, self.store) for server in Server},
        )

    async def look(self, before: Snapshot | None = None) -> tuple[Snapshot, float]:
        """And how long it took, seconds."""
        clock = asyncio.get_running_loop().time
        began_s = clock()
        seen = await observe(self.world, before)
        return seen.snapshot, clock() - began_s


def test_a_canary_that_hangs_costs_much_once_and_little_from_then_on(tmp_path: Path) -> None:
    async def story() -> None:
        yard = Yard(tmp_path)
        there, took_s = await yard.look()
        assert took_s == pytest.approx(0, abs=0.01)
        yard.tritons[CANARY].add_faults(HANGS)

        first, took_s = await yard.look(there)
        assert took_s == pytest.approx(PATIENCE_S)
        assert first.servers[CANARY].problem == f"it has not answered for {PATIENCE_S} s"
        assert first.servers[SERVING].problem is None

        second, took_s = await yard.look(first)
        assert took_s == pytest.approx(PATIENCE_WITH_LOST_S)
        assert second.servers[CANARY].problem == f"it has not answered for {PATIENCE_WITH_LOST_S} s"

    run_virtually(story())


def test_a_canary_that_hangs_at_the_first_look_is_given_time(tmp_path: Path) -> None:
    async def story() -> None:
        yard = Yard(tmp_path, canary="index: slow 60s x99")
        _, took_s = await yard.look()
        assert took_s == pytest.approx(PATIENCE_S)

    run_virtually(story())


def test_a_canary_that_is_slow_is_found_again(tmp_path: Path) -> None:
    async def story() -> None:
        yard = Yard(tmp_path, canary="check: slow 60s x2")
        lost, _ = await yard.look()
        lost, _ = await yard.look(lost)
        assert lost.servers[CANARY].problem is not None

        found, took_s = await yard.look(lost)

        assert found.servers[CANARY].problem is None
        assert took_s == pytest.approx(0, abs=0.01)
        yard.tritons[CANARY].add_faults("check: slow 1s")
        assert (await yard.look(found))[0].servers[CANARY].problem is None

    run_virtually(story())


def test_serving_has_all_the_time_that_a_call_may_take(tmp_path: Path) -> None:
    """Traffic goes on while it is slow to say so; to take it for lost would cost a proof."""

    async def story() -> None:
        yard = Yard(tmp_path, serving="check: slow 5s x2")
        seen, took_s = await yard.look()
        assert seen.servers[SERVING].problem is None
        assert took_s == pytest.approx(5)
        assert (await yard.look(seen))[0].servers[SERVING].problem is None

    run_virtually(story())


def test_what_was_proven_on_a_canary_that_hangs_is_proven_anew(tmp_path: Path) -> None:
    async def story() -> None:
        yard = Yard(tmp_path, canary=HANGS)
        proven = Verification(versions=frozenset({1}), config="")
        for server in Server:
            yard.world.board.verify((server, "m"), proven)

        await yard.look()

        assert yard.world.board.verified(CANARY) == {}

    run_virtually(story())


def test_a_canary_that_hangs_does_not_keep_serving_waiting(tmp_path: Path) -> None:
    """A server that dies is noticed as fast as ever, and so is a release that must go back."""

    async def story(rig: Rig) -> None:
        await serving_version_1(rig)
        asked = await release_2(rig)
        await come_to(rig, S.SOAKING)
        rig.canary.add_faults(HANGS)
        await rig.until(lambda: "server_lost" in rig.told(), "the canary is lost")
        began_s = asyncio.get_running_loop().time()
        rig.serving.add_faults("infer m 2: refused 'Internal: 77' x99")
        await come_to(rig, S.ROLLING_BACK)
        assert asyncio.get_running_loop().time() - began_s < 2.0

        assert (await rig.ended(asked)).error is not None
        assert rig.serving.ready("m") == {1}

    run(tmp_path, story)


class Meanwhile:
    """A port of which one call has read what it returns when somebody releases version 2."""

    def __init__(self, port: object, call: str, release: Callable[[], Awaitable[None]]) -> None:
        self._port = port
        self._call = call
        self._release = release

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._port, name)
        if name != self._call:
            return method

        async def call() -> Any:
            found = await method()
            await self._release()
            return found

        return call


@pytest.mark.parametrize("call", ["check", "index", "known"])
def test_a_version_that_is_released_during_a_look_is_in_the_store(
    tmp_path: Path, call: str
) -> None:
    async def story() -> None:
        yard = Yard(tmp_path)
        await yard.world.records.set_serving("m", 1)
        await yard.look()
        releases = Releases(yard.world, Requests(yard.world, lambda: Profile.PRODUCTION))

        async def release() -> None:
            if not await yard.world.records.releases():
                publish(yard.store, "m", 2, tier="hot")
                await releases.begin("m", 2, actor="ann")

        serving = Meanwhile(yard.tritons[SERVING], call, release)
        store = Meanwhile(yard.world.store, call, release)
        servers: Any = {SERVING: serving, CANARY: yard.tritons[CANARY]}
        yard.world = replace(yard.world, servers=servers, store=store)  # type: ignore[arg-type]

        seen, _ = await yard.look()

        assert seen.releases["m"].version == 2
        assert set(seen.models["m"].versions) == {1, 2}
        notes = plan(seen, POLICY, 0.0).notes
        assert not any(isinstance(note, SaveRelease) for note in notes), "it is not refused"

    run_virtually(story())


def test_a_record_that_cannot_be_read_is_that_of_before(tmp_path: Path) -> None:
    async def story() -> None:
        yard = Yard(tmp_path)
        await yard.world.records.set_serving("m", 1)
        before, _ = await yard.look()
        yard.state.problem = "the disk is full"

        seen = await observe(yard.world, before)

        assert str(seen.problem) == "the disk is full"
        assert seen.snapshot.serving == {"m": 1}
        with pytest.raises(StateUnavailable):
            await observe(yard.world, None)

    run_virtually(story())
