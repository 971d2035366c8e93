"""Several Tritons behind one gateway, in virtual time: one side, the other, and both."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from contract.intent import Intent
from sidecar.core.activation import Heat
from sidecar.core.fleet import Mode, Server
from sidecar.core.memory import CPU
from sidecar.core.replicas import Announcement, free_bytes, revision
from sidecar.core.routing import Replica
from sidecar.errors import (
    DoesNotFit,
    HeldTooLong,
    NotNow,
    PeerLost,
    Quarantined,
    RequestRefused,
    TooLate,
    UnknownObject,
)
from sidecar.ports import Peer
from sidecar.runtime.hold import Hold
from sidecar.runtime.place import Placer
from sidecar.runtime.records import Records
from sidecar.runtime.replicas import ASK_EVERY_S, GONE_AFTER, SILENT_AFTER, Replicas
from sidecar.runtime.route import FORGOTTEN_AFTER_S, Router
from sidecar.runtime.telemetry import Telemetry
from tests.builders import MIB, holding, model, publish, request, snapshot
from tests.fakes.gateway import ACTIVATOR, OWN, FakeGateway
from tests.fakes.peer import FakePeer
from tests.fakes.state import FakeState
from tests.unit.sidecar.client import app_of, client_of
from tests.unit.sidecar.rig import DRAIN_S, Rig, run

MANY = 200
LONGEST_S = 30.0
LOAD_S = 2.0
KNOWN_S = SILENT_AFTER * ASK_EVERY_S + 0.1
"""Until all know of a change."""
ROOM, MORE_ROOM = 10 * MIB, 20 * MIB
STORE = "m n o p"


class Front:
    """The sidecar that drives the gateway, as its clients and the other replicas see it."""

    def __init__(self, rig: Rig, gateway: FakeGateway, replicas: Replicas) -> None:
        self.rig = rig
        self.gateway = gateway
        self.replicas = replicas
        sidecar = rig.sidecar
        placer = Placer(
            sidecar.world.waiting,
            sidecar.world.router,
            replicas,
            sidecar.world.telemetry,
            own_free_bytes=self._own_free_bytes,
            longest_s=LONGEST_S,
        )
        self._hold = Hold(
            sidecar.world.waiting,
            sidecar.world.router,
            placer,
            sidecar.world.telemetry.counts,
            longest_s=LONGEST_S,
            most=1000,
            most_per_model=1000,
        )

    async def hold(self, model: str, *, version: str = "", timeout_s: float | None = None) -> Heat:
        return await self._hold.hold(model, version=version, timeout_s=timeout_s)

    async def is_told(self, event: str, times: int) -> None:
        told = self.rig.told
        await self.rig.until(lambda: told().count(event) == times, f"{event}, {times} times")

    async def reaches(self, model: str, who: str) -> None:
        """The gateway sends requests there; these ones do not count as demand."""

        def would_be_asked() -> str:
            replicas = self.gateway.routes.replicas
            return next((each.name for each in replicas if model in each.models), ACTIVATOR)

        await self.rig.until(lambda: would_be_asked() == who, f"{who} gets {model}")

    def own_has(self, model: str) -> bool:
        """Whether requests for the model are sent to our own Triton too."""
        replicas = self.gateway.routes.replicas
        return any(each.name == OWN.name and model in each.models for each in replicas)

    def changes(self) -> list[str]:
        """What was told of other replicas."""
        return [name for name in self.rig.told() if name.startswith("replica_")]

    def _own_free_bytes(self) -> int:
        snapshot = self.rig.sidecar.loop.snapshot
        return free_bytes(snapshot, self.rig.policy) if snapshot else 0


async def started(
    rig: Rig, names: str = STORE, *, room_bytes: int = ROOM, ready: bool = True
) -> None:
    """A sidecar whose models have served before."""
    for name in names.split():
        publish(rig.store, name)
        intent = Intent.model_validate({"tier": "auto"})
        rig.store.intent(name).write_text(intent.model_dump_json())
        await Records(rig.state).set_serving(name, 1)
    rig.policy = replace(rig.policy, budgets={CPU: room_bytes}, headroom=0.0)
    rig.serving.load_s = LOAD_S
    rig.start()
    if ready:
        await rig.ready()


@asynccontextmanager
async def front_of(rig: Rig, *, room_bytes: int = ROOM, **peers: Peer) -> AsyncIterator[Front]:
    """The other replicas have been asked."""
    rig.gateway = FakeGateway()
    await started(rig, room_bytes=room_bytes)
    addresses = {
        name: Replica(name=name, http=f"{name}:1", grpc=f"{name}:2", models=frozenset())
        for name in peers
    }
    sidecar = rig.sidecar
    world = sidecar.world
    async with Replicas(peers, addresses, world.router, world.telemetry, world.board) as found:
        front = Front(rig, rig.gateway, found)
        # The second time, if the first question was lost.
        await asyncio.sleep(2 * KNOWN_S)
        yield front


def with_front(path: Path, story: Callable[[Front], Awaitable[None]], **peers: Peer) -> None:
    async def play(rig: Rig) -> None:
        async with front_of(rig, **peers) as front:
            await story(front)

    run(path, play)


def now_s() -> float:
    return asyncio.get_running_loop().time()


# Joining and leaving.


def test_a_replica_joins_when_it_says_so(tmp_path: Path) -> None:
    async def story(front: Front) -> None:
        assert front.gateway.asked("m") == ACTIVATOR
        assert front.changes() == []

        b.joined = True

        await front.reaches("m", "b")
        assert front.changes() == ["replica_joined"]

    b = FakePeer("m")
    b.joined = False
    with_front(tmp_path, story, b=b)


def test_a_replica_that_drains_leaves_and_its_models_are_loaded_elsewhere(tmp_path: Path) -> None:
    async def story(front: Front) -> None:
        await front.reaches("m", "b")

        b.joined = False

        await front.reaches("m", ACTIVATOR)
        assert await front.hold("m") is Heat.COLD
        assert front.gateway.asked("m") == OWN.name
        assert front.changes() == ["replica_joined", "replica_left"]

    b = FakePeer("m")
    with_front(tmp_path, story, b=b)


def test_a_replica_that_does_not_answer_twice_is_given_nothing_to_load(tmp_path: Path) -> None:
    """It keeps what it has: its sidecar may be restarted while its Triton serves."""

    async def story(front: Front) -> None:
        await front.reaches("m", "b")
        b.silent = GONE_AFTER - 1
        await asyncio.sleep(KNOWN_S)

        assert await front.hold("n") is Heat.COLD

        assert front.gateway.asked("n") == OWN.name
        assert b.calls == []
        await front.rig.until(lambda: b.silent == 0, "it answers again")
        await asyncio.sleep(KNOWN_S)
        assert await front.hold("o") is Heat.COLD
        assert front.gateway.asked("o") == "b"
        routed = [len(routes.replicas) for routes in front.gateway.history]
        assert routed == sorted(routed), "it was never taken out"
        assert front.changes() == ["replica_joined"]

    b = FakePeer("m", cold=STORE, free_bytes=MORE_ROOM)
    with_front(tmp_path, story, b=b)


def test_a_replica_that_does_not_answer_for_long_is_gone(tmp_path: Path) -> None:
    async def story(front: Front) -> None:
        await front.reaches("m", "b")

        b.silent = 1000
        silent_s = now_s()

        await front.reaches("m", ACTIVATOR)
        assert now_s() - silent_s == pytest.approx(GONE_AFTER * ASK_EVERY_S, abs=0.3)
        await asyncio.sleep(60)
        await front.reaches("m", ACTIVATOR)
        assert front.changes() == ["replica_joined", "replica_left"]

    b = FakePeer("m")
    with_front(tmp_path, story, b=b)


@pytest.mark.parametrize("models", ["m", ""])
def test_one_question_without_an_answer_changes_nothing(tmp_path: Path, models: str) -> None:
    async def story(front: Front) -> None:
        before = front.gateway.routes

        for _ in range(10):
            asked = b.looks
            await front.rig.until(lambda asked=asked: b.looks > asked, "it is asked")
            b.silent = 1
            await front.rig.until(lambda: b.silent == 0, "it does not answer once")
            await asyncio.sleep(2 * ASK_EVERY_S)
            assert front.gateway.routes == before

        assert front.changes() == ["replica_joined"]

    b = FakePeer(*models)
    with_front(tmp_path, story, b=b)


def test_a_replica_that_is_dead_with_its_triton_is_out_at_once(tmp_path: Path) -> None:
    """Its Triton may be started again, with nothing loaded, before its sidecar is."""

    async def story(front: Front) -> None:
        await front.reaches("m", "b")

        b.kill()
        killed_s = now_s()

        await front.reaches("m", ACTIVATOR)
        assert now_s() - killed_s < ASK_EVERY_S + 0.1
        assert front.changes() == ["replica_joined", "replica_left"]

    b = FakePeer("m")
    with_front(tmp_path, story, b=b)


def test_a_replica_that_comes_back_joins_again(tmp_path: Path) -> None:
    async def story(front: Front) -> None:
        for times in range(1, 4):
            b.models = {"m"}
            await front.reaches("m", "b")
            b.kill()
            await front.is_told("replica_left", times)
            await front.reaches("m", ACTIVATOR)
            b.restart()
            await front.is_told("replica_joined", times + 1)

    b = FakePeer("m")
    with_front(tmp_path, story, b=b)


def test_a_replica_that_is_not_there_at_the_start_is_no_event(tmp_path: Path) -> None:
    async def story(front: Front) -> None:
        await asyncio.sleep(60)
        assert front.changes() == []
        assert await front.hold("m") is Heat.COLD

    b = FakePeer("m")
    b.kill()
    with_front(tmp_path, story, b=b)


def test_each_change_of_its_models_reaches_the_gateway_and_is_no_event(tmp_path: Path) -> None:
    async def story(front: Front) -> None:
        for models in ({"m"}, {"m", "n"}, {"n"}, set()):
            b.models = models
            await asyncio.sleep(KNOWN_S)
            routed = {each.name: each.models for each in front.gateway.routes.replicas}
            assert routed["b"] == models
        assert front.changes() == ["replica_joined"]

    b = FakePeer()
    with_front(tmp_path, story, b=b)


def test_a_replica_is_told_which_of_its_models_are_routed(tmp_path: Path) -> None:
    async def story(front: Front) -> None:
        await asyncio.sleep(KNOWN_S)
        assert b.routed == revision(frozenset("mn"))

        b.models = {"n"}
        front.gateway.kill()
        await asyncio.sleep(10)
        assert b.routed == revision(frozenset("mn")), "the gateway has not let m go"

        front.gateway.restart()
        await front.rig.until(lambda: b.routed == revision(frozenset("n")), "it has", 2)

    b = FakePeer("m", "n")
    with_front(tmp_path, story, b=b)


def test_a_model_with_state_is_so_wherever_it_is_loaded(tmp_path: Path) -> None:
    async def story(front: Front) -> None:
        b.stateful = {"n"}
        await asyncio.sleep(KNOWN_S)
        assert front.gateway.routes.stateful == {"n"}

    b = FakePeer("m", "n")
    with_front(tmp_path, story, b=b)


def test_while_none_has_joined_all_are_asked(tmp_path: Path) -> None:
    async def story(front: Front) -> None:
        await front.rig.sidecar.requests.set_mode(Mode.DRAINING, actor="ann")
        b.joined = False
        await asyncio.sleep(KNOWN_S + 1)
        assert [each.name for each in front.gateway.routes.replicas] == [OWN.name, "b"]
        assert front.gateway.asked("m") == "b"

    b = FakePeer("m")
    with_front(tmp_path, story, b=b)


async def test_nothing_is_routed_before_each_replica_was_asked() -> None:
    """A sidecar that is restarted would take away from the gateway what the others have."""
    gateway = FakeGateway()
    router = Router(gateway, OWN, Telemetry(FakeState()), has_others=True)
    running = asyncio.create_task(router.run())
    router.look(snapshot(model("m"), serving=holding(model("m"), 1)))
    for _ in range(10):
        await asyncio.sleep(0)
    assert gateway.history == []

    router.see((Replica(name="b", http="b:1", grpc="b:2", models=frozenset("n")),))
    await asyncio.wait_for(router.until_routed("n"), 30)

    assert [each.name for each in gateway.routes.replicas] == [OWN.name, "b"]
    running.cancel()


@pytest.mark.parametrize("silent", [0, SILENT_AFTER - 1, SILENT_AFTER])
def test_the_first_answers_of_all_make_the_first_routes(tmp_path: Path, silent: int) -> None:
    """A question may be lost; who answers none is not waited for."""

    async def story(front: Front) -> None:
        named = [[each.name for each in routes.replicas] for routes in front.gateway.history]
        assert named[-1] == [OWN.name, "b", "c"]
        assert ([OWN.name, "b"] in named) is (silent == SILENT_AFTER)
        assert [OWN.name, "c"] not in named

    b, c = FakePeer("m"), FakePeer("n")
    c.silent = silent
    with_front(tmp_path, story, b=b, c=c)


# Where a cold model is loaded.


def test_a_cold_model_is_loaded_where_there_is_most_room(tmp_path: Path) -> None:
    async def story(front: Front) -> None:
        assert await front.hold("m") is Heat.COLD
        assert front.gateway.asked("m") == "c"
        b.free_bytes = MORE_ROOM + 1
        await asyncio.sleep(KNOWN_S)
        assert await front.hold("n") is Heat.COLD
        assert front.gateway.asked("n") == "b"
        b.free_bytes = c.free_bytes = ROOM - 1
        await asyncio.sleep(KNOWN_S)
        assert await front.hold("o") is Heat.COLD
        assert front.gateway.asked("o") == OWN.name
        assert (b.calls, c.calls) == (["ensure n"], ["ensure m"])
        assert loads(front) == ["load o"]

    b, c = (FakePeer(cold=STORE, free_bytes=room) for room in (ROOM + 1, MORE_ROOM))
    with_front(tmp_path, story, b=b, c=c)


def test_a_herd_is_held_for_one_load_there(tmp_path: Path) -> None:
    async def story(front: Front) -> None:
        heats = await asyncio.gather(*(front.hold("m") for _ in range(MANY)))

        assert sorted(heats) == [Heat.COLD, *[Heat.JOINED] * (MANY - 1)]
        assert (b.calls, loads(front)) == (["ensure m"], [])
        assert front.gateway.asked("m") == "b"

    b = FakePeer(cold=STORE, free_bytes=MORE_ROOM)
    with_front(tmp_path, story, b=b)


@pytest.mark.parametrize("first", [OWN.name, "b"])
def test_who_comes_later_waits_where_the_model_is_being_loaded(tmp_path: Path, first: str) -> None:
    """Which has less room from then on, since the load takes some."""

    async def story(front: Front) -> None:
        herd = [asyncio.create_task(front.hold("m"))]
        await asyncio.sleep(KNOWN_S)
        b.free_bytes = 0 if first == "b" else MORE_ROOM
        await asyncio.sleep(KNOWN_S)
        herd += [asyncio.create_task(front.hold("m")) for _ in range(MANY)]

        assert sorted(await asyncio.gather(*herd)) == [Heat.COLD, *[Heat.JOINED] * MANY]
        assert front.gateway.asked("m") == first
        assert len(b.calls) + len(loads(front)) == 1

    b = FakePeer(cold=STORE, free_bytes=MORE_ROOM if first == "b" else 0)
    with_front(tmp_path, story, b=b)


def test_what_a_replica_has_is_not_loaded_on_our_own(tmp_path: Path) -> None:
    async def story(front: Front) -> None:
        assert await front.hold("m") is Heat.HIT
        assert (front.gateway.asked("m"), b.calls, loads(front)) == ("b", [], [])

    b = FakePeer("m")
    with_front(tmp_path, story, b=b)


def test_what_a_replica_had_when_it_died_is_loaded_on_our_own(tmp_path: Path) -> None:
    """Its clients are back before anybody has noticed."""

    async def story(front: Front) -> None:
        await front.reaches("m", "b")
        b.kill()

        assert await front.hold("m") is Heat.COLD

        await front.rig.until(lambda: front.own_has("m"), "our own gets requests", 0.1)

    b = FakePeer("m", free_bytes=MORE_ROOM)
    with_front(tmp_path, story, b=b)


@pytest.mark.parametrize("left", [OWN.name, "c"])
def test_when_it_dies_while_it_loads_another_one_does(tmp_path: Path, left: str) -> None:
    async def story(front: Front) -> None:
        herd = [asyncio.create_task(front.hold("m")) for _ in range(MANY)]
        await asyncio.sleep(b.load_s / 2)
        b.kill()

        heats = await asyncio.gather(*herd)

        assert sorted(heats) == [Heat.COLD, *[Heat.JOINED] * (MANY - 1)]
        assert front.gateway.asked("m") == left
        assert len(loads(front)) + len(c.calls) == 1

    b = FakePeer(cold=STORE, free_bytes=2 * MORE_ROOM)
    c = FakePeer(cold=STORE, free_bytes=MORE_ROOM if left == "c" else 0)
    with_front(tmp_path, story, b=b, c=c)


def test_when_it_dies_after_it_has_loaded_another_one_does(tmp_path: Path) -> None:
    """Before it could say that it has it."""

    async def story(front: Front) -> None:
        waiting = asyncio.create_task(front.hold("m"))
        await front.rig.until(lambda: "m" in b.models, "b has it")
        b.kill()

        await waiting
        assert front.own_has("m")

    b = FakePeer(cold=STORE, free_bytes=MORE_ROOM)
    with_front(tmp_path, story, b=b)


def test_one_that_answers_questions_but_loads_nothing_is_passed_over(tmp_path: Path) -> None:
    """As one does where we may only look."""

    async def story(front: Front) -> None:
        assert await front.hold("m") is Heat.COLD
        assert front.gateway.asked("m") == OWN.name

    class OnlyLooks(FakePeer):
        async def ensure(self, model: str, *, timeout_s: float) -> Heat:
            raise PeerLost(f"403 for {model} within {timeout_s:g} s")

    b = OnlyLooks(cold=STORE, free_bytes=MORE_ROOM)
    with_front(tmp_path, story, b=b)


def test_while_our_own_drains_the_others_load(tmp_path: Path) -> None:
    async def story(front: Front) -> None:
        await front.rig.sidecar.requests.set_mode(Mode.DRAINING, actor="ann")
        await asyncio.sleep(KNOWN_S + 1)

        assert await front.hold("m") is Heat.COLD
        assert (front.gateway.asked("m"), b.calls) == ("b", ["ensure m"])

    b = FakePeer(cold=STORE, free_bytes=ROOM // 2)
    with_front(tmp_path, story, b=b)


def test_when_our_own_triton_dies_the_others_load_what_it_had_and_what_it_loaded(
    tmp_path: Path,
) -> None:
    async def story(front: Front) -> None:
        await front.hold("m")
        loading = asyncio.create_task(front.hold("n"))
        await asyncio.sleep(LOAD_S / 2)
        front.rig.serving.kill()

        assert await front.hold("m") is Heat.COLD
        assert front.gateway.asked("m") == "b"
        await loading
        assert front.gateway.asked("n") == "b"

    async def play(rig: Rig) -> None:
        async with front_of(rig, b=b) as front:
            await story(front)

    b = FakePeer(cold=STORE, free_bytes=ROOM // 2)
    run(tmp_path, play, supervised=False)


# Refusals and deadlines.


def test_the_reason_of_a_replica_reaches_each_who_waits(tmp_path: Path) -> None:
    async def story(front: Front) -> None:
        own = front.rig.serving
        own.add_faults("load m 1: fails 'Internal: no such op' x99")

        answers = await asyncio.gather(
            *(front.hold("m") for _ in range(MANY)), return_exceptions=True
        )

        assert {type(answer) for answer in answers} == {Quarantined}

    b = FakePeer(cold=STORE, free_bytes=MORE_ROOM)
    b.refuses["m"] = Quarantined("m is in quarantine: no such op", until_s=None)
    with_front(tmp_path, story, b=b)


@pytest.mark.parametrize(
    "refusal",
    [
        UnknownObject("unknown_model", "its store lacks it yet"),
        NotNow("the sidecar is paused"),
        DoesNotFit(
            "what it has is pinned",
            device=CPU,
            needed_bytes=2 * MORE_ROOM,
            free_bytes=MORE_ROOM,
            evictable_bytes=0,
            blocked_by=["n"],
        ),
    ],
)
def test_what_only_that_replica_cannot_do_another_one_does(
    tmp_path: Path, refusal: RequestRefused
) -> None:
    async def story(front: Front) -> None:
        assert await front.hold("m") is Heat.COLD
        assert front.gateway.asked("m") == OWN.name

    b = FakePeer(cold=STORE, free_bytes=MORE_ROOM)
    b.refuses["m"] = refusal
    with_front(tmp_path, story, b=b)


def test_a_version_that_no_replica_has_is_refused(tmp_path: Path) -> None:
    """Else the request would come back again and again."""

    async def story(front: Front) -> None:
        assert await front.hold("m", version="1") is Heat.HIT
        with pytest.raises(UnknownObject, match="m answers in 1, not in 7"):
            await front.hold("m", version="7")

    b = FakePeer("m")
    with_front(tmp_path, story, b=b)


def test_a_client_that_leaves_takes_nobody_with_it(tmp_path: Path) -> None:
    """Not even the first, who began the load."""

    async def story(front: Front) -> None:
        herd = [asyncio.create_task(front.hold("m")) for _ in range(MANY)]
        await asyncio.sleep(b.load_s / 2)
        for leaving in herd[: MANY // 2]:
            leaving.cancel()

        left = await asyncio.gather(*herd, return_exceptions=True)

        assert {type(each) for each in left[: MANY // 2]} == {asyncio.CancelledError}
        assert left[MANY // 2 :] == [Heat.JOINED] * (MANY // 2)
        assert b.calls == ["ensure m"]

    b = FakePeer(cold=STORE, free_bytes=MORE_ROOM)
    with_front(tmp_path, story, b=b)


def test_the_load_goes_on_when_the_only_client_leaves(tmp_path: Path) -> None:
    async def story(front: Front) -> None:
        waiting = asyncio.create_task(front.hold("m"))
        await asyncio.sleep(b.load_s / 2)
        waiting.cancel()
        await front.reaches("m", "b")

    b = FakePeer(cold=STORE, free_bytes=MORE_ROOM)
    with_front(tmp_path, story, b=b)


def test_each_client_has_its_own_deadline(tmp_path: Path) -> None:
    """The first allows less than the load takes."""

    async def story(front: Front) -> None:
        short = asyncio.create_task(front.hold("m", timeout_s=1.0))
        await asyncio.sleep(0.1)
        began_s = now_s()
        longer = [asyncio.create_task(front.hold("m", timeout_s=20.0)) for _ in range(MANY)]
        endless = asyncio.create_task(front.hold("m"))

        with pytest.raises(TooLate, match="within the 1 s that the client allows"):
            await short
        assert now_s() - began_s < 1.0
        assert await asyncio.gather(*longer, endless) == [Heat.JOINED] * (MANY + 1)
        assert b.calls == ["ensure m"]

    b = FakePeer(cold=STORE, free_bytes=MORE_ROOM, load_s=5.0)
    with_front(tmp_path, story, b=b)


def test_nobody_is_held_longer_than_our_limit(tmp_path: Path) -> None:
    async def story(front: Front) -> None:
        began_s = now_s()
        with pytest.raises(HeldTooLong):
            await front.hold("m")
        assert now_s() - began_s == pytest.approx(LONGEST_S, abs=0.01)

        assert await front.hold("m") is Heat.JOINED

    b = FakePeer(cold=STORE, free_bytes=MORE_ROOM, load_s=1.5 * LONGEST_S)
    with_front(tmp_path, story, b=b)


# What counts as demand.


def test_demand_is_what_our_own_triton_served_while_there_are_others(tmp_path: Path) -> None:
    async def story(front: Front) -> None:
        demand = front.rig.sidecar.world.board.demand
        for _ in range(1000):
            front.gateway.asked("m")
        await asyncio.sleep(5)
        assert "m" not in demand, "b has served them"

        b.kill()
        await front.is_told("replica_left", 1)
        await asyncio.sleep(5)
        assert "m" not in demand, "what b had served is not asked for again"

        front.gateway.asked("m")
        await asyncio.sleep(5)
        assert demand["m"].requests == 1

    b = FakePeer("m")
    with_front(tmp_path, story, b=b)


# As the other replicas see it.


@asynccontextmanager
async def asking(rig: Rig, routed: Callable[[], frozenset[str]]) -> AsyncIterator[None]:
    """A gateway elsewhere routes these models, and says so as often as the real one."""

    async def ask() -> None:
        while True:
            await rig.sidecar.world.router.acknowledge(revision(routed()))
            await asyncio.sleep(ASK_EVERY_S)

    task = asyncio.create_task(ask())
    yield
    task.cancel()


async def with_two_loaded(rig: Rig) -> None:
    await started(rig, "m n")
    for name in ("m", "n"):
        await rig.sidecar.requests.ensure(name, timeout_s=LONGEST_S)


async def unloaded_within(rig: Rig, model: str) -> float:
    """Seconds from the request to the end."""
    began_s = now_s()
    await rig.ended(await rig.sidecar.requests.unload(model, actor="ann"))
    assert rig.serving.ready(model) == set()
    return now_s() - began_s


def test_a_model_is_unloaded_when_the_gateway_elsewhere_has_let_it_go(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        await with_two_loaded(rig)
        routed = frozenset("mn")
        async with asking(rig, lambda: routed):
            await asyncio.sleep(1)
            unloading = asyncio.create_task(unloaded_within(rig, "m"))
            await rig.until(lambda: rig.sidecar.world.router.own.models == {"n"}, "m is to go")
            await asyncio.sleep(DRAIN_S / 2)
            assert rig.serving.ready("m") == {1}

            routed = frozenset("n")
            let_go_s = now_s()
            await unloading
            assert now_s() - let_go_s < ASK_EVERY_S + 0.1

    run(tmp_path, story)


def test_a_gateway_that_asks_no_more_is_forgotten(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        await with_two_loaded(rig)
        async with asking(rig, lambda: frozenset("mn")):
            await asyncio.sleep(10)

        assert await unloaded_within(rig, "m") == pytest.approx(FORGOTTEN_AFTER_S, abs=0.5)
        assert await unloaded_within(rig, "n") < 0.5

    run(tmp_path, story)


def test_a_gateway_that_never_lets_go_is_not_waited_for_without_end(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        await with_two_loaded(rig)
        async with asking(rig, lambda: frozenset("mn")):
            await asyncio.sleep(1)
            assert await unloaded_within(rig, "m") == pytest.approx(DRAIN_S, abs=1.5)

    run(tmp_path, story)


def test_without_a_gateway_nobody_is_waited_for(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        await with_two_loaded(rig)
        assert await unloaded_within(rig, "m") < 0.5

    run(tmp_path, story)


def test_a_replica_that_has_not_joined_waits_for_nobody_either(tmp_path: Path) -> None:
    """The gateway sends nothing there, and says that it routes none of its models."""

    async def story(rig: Rig) -> None:
        rig.serving.add_faults("load hot 1: fails 'Internal: no' x99")
        publish(rig.store, "hot", tier="hot")
        await started(rig, "m n", ready=False)
        for name in ("m", "n"):
            await rig.sidecar.requests.ensure(name, timeout_s=LONGEST_S)
        assert not rig.sidecar.world.router.own.joined
        async with asking(rig, frozenset):
            await asyncio.sleep(1)
            assert await unloaded_within(rig, "m") < 1.5

    run(tmp_path, story)


# Both sides.


class Neighbour:
    """Another whole sidecar, by its REST API, and its Triton."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._sidecar = rig.sidecar
        self._client = client_of(app_of(rig))

    async def look(self, routed: str) -> Announcement:
        if self._rig.sidecar is not self._sidecar:
            self._sidecar, self._client = self._rig.sidecar, client_of(app_of(self._rig))
        answer = await self._client.get("/v1/replica", params={"routed": routed})
        if not answer.is_success:
            raise PeerLost(answer.text)
        said = answer.json()
        return Announcement(
            models={name: tuple(versions) for name, versions in said["models"].items()},
            stateful=frozenset(said["stateful"]),
            joined=said["joined"],
            free_bytes=said["free_bytes"],
        )

    async def ensure(self, model: str, *, timeout_s: float) -> Heat:
        return await self._rig.sidecar.requests.ensure(model, timeout_s=timeout_s)

    async def serves(self, model: str) -> bool:
        return bool(self._rig.serving.ready(model))


@asynccontextmanager
async def neighbour_of(rig: Rig, *, room_bytes: int) -> AsyncIterator[Rig]:
    (rig.root / "b").mkdir()
    other = Rig(rig.root / "b")
    await started(other, room_bytes=room_bytes)
    other.serving.unload_s = 1.0
    yield other
    await other.sidecar.die()
    assert other.serving.violations == []


def test_a_sidecar_that_is_restarted_takes_nothing_from_its_triton(tmp_path: Path) -> None:
    """Its models must be probed again, which their clients do not notice."""

    async def story(rig: Rig) -> None:
        async with (
            neighbour_of(rig, room_bytes=MORE_ROOM) as other,
            front_of(rig, b=Neighbour(other)) as front,
        ):
            await front.hold("m")
            await front.reaches("m", "b")
            before = len(front.gateway.history)
            other.serving.add_faults("infer m 1: slow 3s")

            await other.crash()
            await asyncio.sleep(20)

            assert all(routes.have("m") for routes in front.gateway.history[before:])
            assert front.changes() == ["replica_joined"]
            assert other.loaded(Server.SERVING, "m") == [{1}]

    run(tmp_path, story)


def test_a_triton_that_is_restarted_has_nothing_until_it_is_loaded_again(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        async with (
            neighbour_of(rig, room_bytes=MORE_ROOM) as other,
            front_of(rig, b=Neighbour(other)) as front,
        ):
            await front.hold("m")
            await front.reaches("m", "b")

            other.serving.kill()
            other.serving.restart()

            await front.reaches("m", ACTIVATOR)
            await front.hold("m")
            await infer(other if front.gateway.asked("m") == "b" else rig, "m")

    run(tmp_path, story)


@pytest.mark.parametrize("evicting", [OWN.name, "b"])
def test_requests_for_more_than_fits_on_both_never_meet_a_model_that_is_not_there(
    tmp_path: Path, evicting: str
) -> None:
    """Whoever is sent to a Triton is answered, at each moment of many evictions."""
    names = STORE.split()

    async def client(front: Front, rigs: Mapping[str, Rig], at: int) -> None:
        for turn in range(25):
            model = names[(at * 7 + turn * (at + 1)) % len(names)]
            while front.gateway.asked(model) == ACTIVATOR:
                await front.hold(model)
            for replica in front.gateway.routes.replicas:
                if model in replica.models:
                    await infer(rigs[replica.name], model)
            await asyncio.sleep(1.3 * (at + 1))

    async def story(rig: Rig) -> None:
        # Who has a little more than one model takes is asked for each, and evicts for it.
        room = {OWN.name: MIB, "b": MIB, evicting: int(1.5 * MIB)}
        async with (
            neighbour_of(rig, room_bytes=room["b"]) as other,
            front_of(rig, room_bytes=room[OWN.name], b=Neighbour(other)) as front,
        ):
            rig.serving.unload_s = 1.0
            rigs = {OWN.name: rig, "b": other}
            await asyncio.gather(*(client(front, rigs, at) for at in range(3)))
        assert rigs[evicting].told().count("model_evicted") > 5

    run(tmp_path, story)


async def infer(rig: Rig, model: str) -> None:
    """A request of a client. Fails where the model is not loaded."""
    await rig.serving.infer(model, 1, request(1, 2), timeout_s=5.0)


def loads(front: Front) -> list[str]:
    """What our own Triton has loaded."""
    return [call for call in front.rig.serving.calls if call.startswith("load ")]
