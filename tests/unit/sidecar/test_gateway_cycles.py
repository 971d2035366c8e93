"""Whole stories of a sidecar that drives a gateway, in virtual time."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from contract.intent import Intent
from sidecar.core.activation import Heat
from sidecar.core.fleet import Server
from sidecar.core.memory import CPU
from sidecar.core.routing import Replica, Routes
from sidecar.core.steering import Steering
from sidecar.core.traffic import Traffic
from sidecar.errors import Quarantined, UnknownObject
from sidecar.runtime.records import Records
from tests.builders import MIB, publish
from tests.eventually import eventually
from tests.fakes.gateway import ACTIVATOR, OWN, FakeGateway
from tests.unit.sidecar.client import app_of, client_of
from tests.unit.sidecar.rig import DRAIN_S, Rig, run

SERVING = Server.SERVING
MANY = 50
# Longer than the gateway takes.
LOAD_S = 1.0
OTHER = Replica(name="other", http="o:1", grpc="o:2", models=frozenset())


class SlowGateway(FakeGateway):
    """Takes longer to take up routes than a sidecar does to be ready."""

    async def apply(self, routes: Routes) -> None:
        await asyncio.sleep(5.0)
        await super().apply(routes)


async def gateway_of(rig: Rig, names: str, *, room_for: float = 10) -> FakeGateway:
    """Before models that have served before. Its calls and those to Triton are in one list."""
    rig.gateway = gateway = FakeGateway()
    gateway.calls = rig.serving.calls
    for name in names.split():
        publish(rig.store, name, 1)
        intent = Intent.model_validate({"tier": "auto"})
        rig.store.intent(name).write_text(intent.model_dump_json())
        await Records(rig.state).set_serving(name, 1)
    rig.policy = replace(rig.policy, budgets={CPU: int(room_for * MIB)}, headroom=0.0)
    rig.serving.load_s = LOAD_S
    rig.start()
    await rig.ready()
    await rig.until(lambda: len(gateway.history) > 0, "the first routes are there")
    return gateway


async def hold(rig: Rig, model: str, timeout_s: float | None = None) -> Heat:
    return await rig.sidecar.hold().hold(model, timeout_s=timeout_s)


def order(calls: Sequence[str]) -> list[str]:
    """What was done to models, without what repeats the last of its kind."""
    last: dict[str, str] = {}
    done = []
    for call in calls:
        kind = call.split()[0]
        if kind in ("load", "unload", "infer", "route") and last.get(kind) != call:
            done.append(call)
            last[kind] = call
    return done


def open_streams(gateway: FakeGateway, model: str, count: int) -> None:
    seen = gateway.counted.get(model, Traffic())
    gateway.counted[model] = replace(seen, open_streams=count)


# In.


def test_a_model_is_routed_when_it_is_warmed_and_probed_and_not_before(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        gateway = await gateway_of(rig, "m n")
        before = len(gateway.calls)

        assert await hold(rig, "m") is Heat.COLD

        assert order(gateway.calls[before:]) == ["load m", "infer m 1", "route m"]
        assert (gateway.asked("m"), gateway.asked("n")) == (OWN.name, ACTIVATOR)

    run(tmp_path, story)


def test_it_is_ready_when_the_gateway_sends_requests_for_hot_models_to_the_server(
    tmp_path: Path,
) -> None:
    async def story(rig: Rig) -> None:
        rig.gateway = gateway = SlowGateway()
        publish(rig.store, "m", 1, tier="hot")
        rig.start()
        async with client_of(app_of(rig)) as client:
            await rig.ready()
            said = (await client.get("/readyz")).json()
            assert said == {
                "ready": False,
                "missing": ["m: the gateway does not send its requests to the server yet"],
            }

            async def is_ready() -> bool:
                return (await client.get("/readyz")).is_success

            await eventually(is_ready, "it is ready")
            assert gateway.asked("m") == OWN.name

    run(tmp_path, story)


def test_a_gateway_that_is_away_does_not_keep_anybody_from_being_ready(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        rig.gateway = FakeGateway()
        rig.gateway.kill()
        publish(rig.store, "m", 1, tier="hot")
        rig.start()
        await rig.ready()
        await rig.until(lambda: rig.sidecar.world.router.problem is not None, "it is missed")
        async with client_of(app_of(rig)) as client:
            assert (await client.get("/readyz")).is_success

    run(tmp_path, story)


def test_a_herd_is_held_for_one_load(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        gateway = await gateway_of(rig, "m")

        heats = await asyncio.gather(*(hold(rig, "m") for _ in range(MANY)))

        assert sorted(heats) == [Heat.COLD, *[Heat.JOINED] * (MANY - 1)]
        assert gateway.calls.count("load m") == 1

    run(tmp_path, story)


def test_a_herd_for_a_model_that_cannot_be_loaded_gets_the_reason(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        gateway = await gateway_of(rig, "m")
        rig.serving.add_faults("load m 1: fails 'Internal: no such op' x99")

        answers = await asyncio.gather(
            *(hold(rig, "m") for _ in range(MANY)), return_exceptions=True
        )

        assert {type(answer) for answer in answers} == {Quarantined}
        assert {"no such op" in str(answer) for answer in answers} == {True}
        assert not gateway.routes.have("m")

    run(tmp_path, story)


def test_a_model_that_nobody_knows_is_refused_at_once(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        gateway = await gateway_of(rig, "m")
        calls, now_s = list(gateway.calls), asyncio.get_running_loop().time()

        for _ in range(MANY):
            with pytest.raises(UnknownObject):
                await hold(rig, "x")

        assert asyncio.get_running_loop().time() == now_s
        assert gateway.calls == calls

    run(tmp_path, story)


# Out.


def test_a_model_leaves_the_routes_before_it_is_unloaded(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        gateway = await gateway_of(rig, "m n")
        await hold(rig, "m")
        await hold(rig, "n")
        before = len(gateway.calls)

        await rig.ended(await rig.sidecar.requests.unload("m", actor="ann"))

        assert order(gateway.calls[before:]) == ["route n", "unload m"]
        assert (gateway.asked("m"), gateway.asked("n")) == (ACTIVATOR, OWN.name)

    run(tmp_path, story)


def test_a_model_waits_for_its_open_streams_before_it_is_unloaded(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        gateway = await gateway_of(rig, "m")
        await hold(rig, "m")
        open_streams(gateway, "m", 1)
        asked = await rig.sidecar.requests.unload("m", actor="ann")

        await rig.until(lambda: not gateway.routes.have("m"), "m leaves the routes")
        await asyncio.sleep(DRAIN_S / 2)
        assert "unload m" not in gateway.calls

        open_streams(gateway, "m", 0)
        await rig.ended(asked)
        assert gateway.calls.count("unload m") == 1

    run(tmp_path, story)


def test_a_request_in_between_calls_the_unload_off(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        gateway = await gateway_of(rig, "m")
        await hold(rig, "m")
        open_streams(gateway, "m", 1)
        await rig.sidecar.requests.unload("m", actor="ann")
        await rig.until(lambda: not gateway.routes.have("m"), "m leaves the routes")
        before = len(gateway.calls)

        assert await hold(rig, "m", timeout_s=DRAIN_S / 2) is Heat.COLD

        assert gateway.asked("m") == OWN.name
        assert order(gateway.calls[before:]) == ["route m"]
        assert rig.told("m").count("unload_called_off") == 1

    run(tmp_path, story)


def test_an_eviction_is_not_called_off_and_who_comes_meanwhile_is_answered_after(
    tmp_path: Path,
) -> None:
    async def story(rig: Rig) -> None:
        gateway = await gateway_of(rig, "m n", room_for=1)
        await hold(rig, "m")
        await asyncio.sleep(60)
        open_streams(gateway, "m", 1)
        before = len(gateway.calls)

        async with asyncio.TaskGroup() as group:
            for_n = group.create_task(hold(rig, "n"))
            await rig.until(lambda: not gateway.routes.have("m"), "m leaves the routes")
            for_m = group.create_task(hold(rig, "m", timeout_s=600))
            await for_n
            assert gateway.asked("n") == OWN.name
            open_streams(gateway, "m", 0)
            gateway.asked("n")
            await for_m

        done = order([call for call in gateway.calls[before:] if not call.startswith("infer")])
        assert done[:5] == ["route", "unload m", "load n", "route n", "route"]
        assert done[5:] == ["unload n", "load m", "route m"]
        assert rig.told().count("unload_called_off") == 0

    run(tmp_path, story)


def test_requests_for_more_than_fits_never_meet_a_model_that_is_not_there(
    tmp_path: Path,
) -> None:
    """Whoever the gateway sends to Triton is answered, at each moment of many evictions."""
    names = ["a", "b", "c", "d"]

    async def client(rig: Rig, gateway: FakeGateway, at: int) -> None:
        for turn in range(25):
            model = names[(at * 7 + turn * (at + 1)) % len(names)]
            while gateway.asked(model) == ACTIVATOR:
                await hold(rig, model)
            assert rig.serving.ready(model) == {1}
            await asyncio.sleep(1.3 * (at + 1))

    async def story(rig: Rig) -> None:
        rig.serving.load_s, rig.serving.unload_s = 2.0, 1.0
        gateway = await gateway_of(rig, " ".join(names), room_for=2)

        await asyncio.gather(*(client(rig, gateway, at) for at in range(3)))

        assert rig.told().count("model_evicted") > 5

    run(tmp_path, story)


# Restarts.


def test_what_triton_has_forgotten_is_not_routed_until_it_is_loaded_again(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        gateway = await gateway_of(rig, "m")
        await hold(rig, "m")
        before = len(gateway.calls)

        rig.serving.kill()
        await rig.until(lambda: not gateway.routes.have("m"), "m leaves the routes")
        await rig.until(lambda: gateway.routes.have("m"), "m is routed again")

        assert order(gateway.calls[before:]) == ["load m", "route", "infer m 1", "route m"]

    run(tmp_path, story)


def test_a_sidecar_that_is_restarted_never_withdraws_what_is_loaded(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        gateway = await gateway_of(rig, "m n")
        await hold(rig, "m")
        told = len(gateway.history)

        await rig.crash()
        await rig.ready()
        await asyncio.sleep(60)

        assert all(routes.have("m") for routes in gateway.history[told:])
        assert gateway.asked("m") == OWN.name
        assert rig.loaded(SERVING, "m") == [{1}]

    run(tmp_path, story)


def test_a_sidecar_that_is_restarted_withdraws_what_has_gone_meanwhile(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        gateway = await gateway_of(rig, "m")
        await hold(rig, "m")
        await rig.sidecar.die()
        rig.serving.driver_died()
        rig.serving.kill()
        rig.serving.restart()
        before = len(gateway.calls)

        rig.start()

        await rig.until(lambda: not gateway.routes.have("m"), "m leaves the routes")
        await rig.until(lambda: gateway.routes.have("m"), "m is routed again")
        done = order(gateway.calls[before:])
        assert done.index("route") < done.index("infer m 1") < done.index("route m")

    run(tmp_path, story)


def test_a_model_that_is_loaded_anew_behind_our_back_is_not_routed_before_its_probe(
    tmp_path: Path,
) -> None:
    async def story(rig: Rig) -> None:
        gateway = await gateway_of(rig, "m")
        await hold(rig, "m")
        rig.serving.knows_its_driver = False
        before = len(gateway.calls)
        await rig.serving.unload("m")
        await rig.until(lambda: not gateway.routes.have("m"), "m leaves the routes")

        await hold(rig, "m")

        done = ["unload m", "load m", "route", "infer m 1", "route m"]
        assert order(gateway.calls[before:]) == done

    run(tmp_path, story)


# A gateway that does not answer.


def test_a_gateway_that_is_lost_is_told_once_and_takes_up_all_when_it_is_back(
    tmp_path: Path,
) -> None:
    async def story(rig: Rig) -> None:
        gateway = await gateway_of(rig, "m")
        gateway.kill()
        waiting = asyncio.create_task(hold(rig, "m"))
        await rig.until(lambda: rig.serving.ready("m") == {1}, "m is loaded all the same")
        await asyncio.sleep(20)
        assert not waiting.done()

        gateway.restart()

        assert await waiting is Heat.COLD
        assert gateway.asked("m") == OWN.name
        await rig.until(lambda: "gateway_found" in rig.told(), "it is told that it is back")
        told = [name for name in rig.told() if name.startswith("gateway")]
        assert told == ["gateway_lost", "gateway_found"]

    run(tmp_path, story)


def test_a_model_goes_at_last_though_nobody_can_tell_the_gateway(tmp_path: Path) -> None:
    """Its memory may be wanted for another one."""

    async def story(rig: Rig) -> None:
        gateway = await gateway_of(rig, "m")
        await hold(rig, "m")
        gateway.kill()
        began_s = asyncio.get_running_loop().time()

        await rig.ended(await rig.sidecar.requests.unload("m", actor="ann"))

        assert asyncio.get_running_loop().time() - began_s >= DRAIN_S
        assert rig.serving.ready("m") == set()

    run(tmp_path, story)


def test_routes_that_the_gateway_refuses_are_told_with_its_reason(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        gateway = await gateway_of(rig, "m")
        await hold(rig, "m")
        router = rig.sidecar.world.router
        router.see((replace(OTHER, stateful=frozenset({gateway.impossible})),))
        await rig.until(lambda: router.problem is not None, "the gateway refuses")

        assert gateway.asked("m") == OWN.name
        assert rig.told().count("gateway_lost") == 1

        router.see(())
        await rig.until(lambda: router.problem is None, "the gateway goes on")
        assert rig.told().count("gateway_found") == 1

    run(tmp_path, story)


# What is said of requests.


def test_weights_reach_the_gateway_while_both_versions_are_loaded(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        gateway = await gateway_of(rig, "m")
        await hold(rig, "m")
        said = Steering(weights={1: 3, 2: 1})
        await rig.sidecar.world.records.set_steering("m", said, expect=None)

        await rig.until(lambda: "m" in gateway.routes.splits, "the split is there")
        assert gateway.routes.splits["m"].weights == {1: 3}

        publish(rig.store, "m", 2)
        await rig.sidecar.releases.begin("m", 2, actor="ann")
        await rig.until(lambda: gateway.routes.splits["m"].weights == {1: 3, 2: 1}, "both share")
        await rig.until(lambda: gateway.routes.splits["m"].weights == {2: 1}, "one is left")
        assert rig.serving.ready("m") >= {2}

    run(tmp_path, story)


# What the gateway counts.


def test_what_clients_ask_for_is_demand_and_our_own_probes_are_not(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        gateway = await gateway_of(rig, "m n")
        await hold(rig, "m")
        demand = rig.sidecar.world.board.demand
        await asyncio.sleep(5)
        assert "m" not in demand

        for _ in range(3):
            gateway.asked("m")
        gateway.asked("n")
        gateway.asked("somebody's invention")
        await asyncio.sleep(5)

        assert set(demand) == {"m", "n"}

    run(tmp_path, story)
