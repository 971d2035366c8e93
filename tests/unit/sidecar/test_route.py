"""The router: the newest routes, one after the other, in virtual time."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from sidecar.core.fleet import Snapshot
from sidecar.core.replicas import revision
from sidecar.core.routing import Replica, Routes
from sidecar.core.steering import Steering
from sidecar.core.traffic import Traffic
from sidecar.errors import GatewayLost
from sidecar.runtime.route import AGAIN_AFTER_S, FORGOTTEN_AFTER_S, REFRESH_EVERY_S, Router
from sidecar.runtime.telemetry import Telemetry
from tests.builders import holding, kept, model, server, snapshot
from tests.fakes.gateway import OWN, TAKES_UP_S, FakeGateway
from tests.fakes.state import FakeState
from tests.fakes.virtual_time import run_virtually

NAMES = "m n o"
MODELS = {name: model(name) for name in NAMES.split()}


def loaded(names: str) -> Snapshot:
    """A look that saw these models."""
    views = [holding(MODELS[name], 1) for name in names.split()]
    return snapshot(*MODELS.values(), serving=server(*views), kept=kept(*NAMES.split()))


def routed(routes: Routes) -> str:
    return " ".join(sorted({model for each in routes.replicas for model in each.models}))


class Playing:
    """A router that runs before a gateway, and what it told."""

    def __init__(self) -> None:
        self.gateway = FakeGateway()
        self.state = FakeState()
        self.router = Router(self.gateway, OWN, Telemetry(self.state))

    @property
    def history(self) -> list[str]:
        return [routed(routes) for routes in self.gateway.history]

    @property
    def told(self) -> list[str]:
        return [event.name.value for event in self.state.events]


def play(story: Callable[[Playing], Coroutine[Any, Any, None]]) -> None:
    async def with_router() -> None:
        playing = Playing()
        running = asyncio.create_task(playing.router.run())
        await story(playing)
        running.cancel()

    run_virtually(with_router())


async def passes(seconds: float) -> None:
    await asyncio.sleep(seconds)


def ends(waiting: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
    return asyncio.create_task(waiting)


def test_nothing_is_told_before_the_first_look() -> None:
    """An empty table would withdraw all that is loaded."""

    async def story(it: Playing) -> None:
        await passes(60)
        it.router.see((replace(OWN, name="other"),))
        await passes(60)

        assert it.history == []

    play(story)


def test_each_look_that_changes_something_is_told_at_once() -> None:
    async def story(it: Playing) -> None:
        for names in ("m", "m n", "n"):
            it.router.look(loaded(names))
            await passes(2 * TAKES_UP_S)

        assert it.history == ["m", "m n", "n"]

    play(story)


def test_looks_that_come_while_the_gateway_is_busy_are_told_as_one() -> None:
    async def story(it: Playing) -> None:
        it.router.look(loaded("m"))
        await passes(TAKES_UP_S / 2)
        for names in ("m n", "o", "n"):
            it.router.look(loaded(names))
        await passes(3 * TAKES_UP_S)

        assert it.history == ["m", "n"]

    play(story)


def test_a_look_that_changes_nothing_is_not_told_but_now_and_then_all_is_told_again() -> None:
    async def story(it: Playing) -> None:
        for _ in range(5):
            it.router.look(loaded("m"))
            await passes(REFRESH_EVERY_S / 10)
        assert it.history == ["m"]

        await passes(2 * REFRESH_EVERY_S)
        assert it.history == ["m"] * 3

    play(story)


def test_a_gateway_that_does_not_answer_is_asked_again_and_told_of_once_each_way() -> None:
    async def story(it: Playing) -> None:
        it.gateway.kill()
        it.router.look(loaded("m"))
        await passes(20)
        assert it.told == ["gateway_lost"]
        assert it.router.problem == "the gateway does not answer"

        it.gateway.restart()
        await passes(AGAIN_AFTER_S + 2 * TAKES_UP_S)
        assert it.told == ["gateway_lost", "gateway_found"]
        assert it.router.problem is None
        assert routed(it.gateway.routes) == "m"

    play(story)


def test_a_bug_of_the_gateway_is_told_and_the_routes_go_on_when_it_is_gone() -> None:
    async def story(it: Playing) -> None:
        it.gateway.has_a_bug = True
        it.router.look(loaded("m"))
        with capture_logs() as logs:
            await passes(20)
        assert it.told == ["gateway_lost"]
        assert it.router.problem is not None
        assert it.router.problem.startswith("bug: ZeroDivisionError: ")
        (line,) = [line for line in logs if line["event"] == "task_crashed"]
        assert (line["task"], type(line["exc_info"])) == ("gateway", ZeroDivisionError)

        it.gateway.has_a_bug = False
        await passes(AGAIN_AFTER_S + 2 * TAKES_UP_S)
        assert it.told == ["gateway_lost", "gateway_found"]
        assert it.router.problem is None
        assert routed(it.gateway.routes) == "m"

    play(story)


def test_a_model_is_routed_when_the_gateway_has_taken_it_up() -> None:
    async def story(it: Playing) -> None:
        waiting = ends(it.router.until_routed("m"))
        it.router.look(loaded("n"))
        await passes(1)
        assert not waiting.done()

        it.router.look(loaded("m n"))
        await passes(TAKES_UP_S / 2)
        assert not waiting.done()
        await passes(TAKES_UP_S)
        assert waiting.done()
        await it.router.until_routed("n")

    play(story)


def test_while_weights_change_each_version_that_the_gateway_may_name_has_none() -> None:
    two = model("m", versions=[1, 2])
    both = snapshot(two, serving=holding(two, 1, 2), kept=kept("m"))
    shared = replace(both, steering={"m": Steering(weights={1: 100})})
    shifted = replace(both, steering={"m": Steering(weights={1: 95, 2: 5})})

    async def story(it: Playing) -> None:
        it.router.look(shared)
        await passes(TAKES_UP_S / 2)
        assert it.router.weights == {"m": {1: 0}}
        await passes(TAKES_UP_S)
        assert it.router.weights == {"m": {1: 100}}

        it.router.look(shifted)
        await passes(TAKES_UP_S / 2)
        it.router.look(shared)
        assert it.router.weights == {"m": {1: 0, 2: 0}}, "it takes up what was told before"
        await passes(TAKES_UP_S)
        assert it.router.weights == {"m": {1: 0, 2: 0}}
        await passes(TAKES_UP_S)
        assert it.router.weights == {"m": {1: 100}}

        it.gateway.kill()
        it.router.look(both)
        await passes(60)
        assert it.router.weights == {"m": {1: 0}}, "nobody knows what it does"

    play(story)


def test_a_model_that_another_replica_has_is_routed() -> None:
    async def story(it: Playing) -> None:
        it.router.look(loaded(""))
        it.router.see((other("m"),))

        await it.router.until_routed("m")
        await it.router.until_withdrawn("m")
        assert not it.router.is_alone

    play(story)


def test_a_model_is_withdrawn_when_the_gateway_has_taken_it_up() -> None:
    async def story(it: Playing) -> None:
        it.router.look(loaded("m n"))
        await it.router.until_routed("m")
        waiting = ends(it.router.until_withdrawn("m"))
        await passes(60)
        assert not waiting.done()

        it.router.look(loaded("n"))
        await passes(TAKES_UP_S / 2)
        assert not waiting.done()
        await passes(TAKES_UP_S)
        assert waiting.done()

    play(story)


def test_nothing_is_withdrawn_while_the_gateway_cannot_be_reached() -> None:
    async def story(it: Playing) -> None:
        it.router.look(loaded("m"))
        await it.router.until_routed("m")
        it.gateway.kill()
        it.router.look(loaded(""))
        waiting = ends(it.router.until_withdrawn("m"))
        await passes(60)
        assert not waiting.done()

        it.gateway.restart()
        await waiting

    play(story)


def test_before_anything_was_applied_nothing_is_known() -> None:
    async def story(it: Playing) -> None:
        waiting = ends(it.router.until_withdrawn("m"))
        await passes(60)
        assert not waiting.done()
        it.router.look(loaded("n"))
        await waiting

    play(story)


def test_who_waits_for_many_models_is_told_of_each() -> None:
    async def story(it: Playing) -> None:
        waiting = [ends(it.router.until_routed(name)) for name in ("m", "n", "o") * 100]
        for names in ("m", "m n", "m n o"):
            it.router.look(loaded(names))
            await passes(2 * TAKES_UP_S)
            assert [task.done() for task in waiting[:3]] == [name in names for name in "mno"]

        assert all(task.done() for task in waiting)

    play(story)


def test_what_the_gateway_did_before_is_taken_up_so_that_nothing_is_withdrawn_at_first() -> None:
    async def story(it: Playing) -> None:
        it.router.look(loaded("m n"))
        await it.router.until_routed("m")
        again = Router(it.gateway, OWN, Telemetry(it.state))
        await again.recall()
        unproven = loaded("m")
        views = {name: replace(view, verified={}) for name, view in unproven.servers.items()}

        again.look(replace(unproven, servers=views))

        assert again.own.models == {"m"}

    play(story)


async def test_without_a_gateway_every_wish_is_fulfilled_at_once() -> None:
    router = Router(None, OWN, Telemetry(FakeState()))

    await router.recall()
    await router.run()
    await router.until_routed("m")
    await router.until_withdrawn("m")
    assert await router.traffic() == {}


def test_traffic_is_that_of_the_gateway() -> None:
    async def story(it: Playing) -> None:
        it.gateway.counted = {"m": Traffic(open_streams=2)}
        assert await it.router.traffic() == {"m": Traffic(open_streams=2)}

        it.gateway.kill()
        with pytest.raises(GatewayLost):
            await it.router.traffic()

    play(story)


# A replica whose models another sidecar's gateway routes.


def other(*names: str) -> Replica:
    return Replica(name="other", http="o:1", grpc="o:2", models=frozenset(names))


def led(story: Callable[[Router], Coroutine[Any, Any, None]]) -> None:
    """By another sidecar, which drives the gateway."""
    run_virtually(story(Router(None, OWN, Telemetry(FakeState()))))


def test_a_model_is_withdrawn_when_who_drives_the_gateway_says_so() -> None:
    async def story(router: Router) -> None:
        router.look(loaded("m n"))
        await router.acknowledge(revision(frozenset({"m", "n"})))
        router.look(loaded("n"))
        waiting = ends(router.until_withdrawn("m"))
        for _ in range(20):
            await passes(FORGOTTEN_AFTER_S / 10)
            await router.acknowledge(revision(frozenset({"m", "n"})))
        assert not waiting.done()

        await router.acknowledge(revision(frozenset({"n"})))
        await passes(0.001)
        assert waiting.done()

    led(story)


def test_who_has_not_been_heard_of_for_a_while_drives_no_gateway() -> None:
    async def story(router: Router) -> None:
        router.look(loaded("m"))
        await router.acknowledge(revision(frozenset({"m"})))
        router.look(loaded(""))
        waiting = ends(router.until_withdrawn("m"))
        await passes(FORGOTTEN_AFTER_S / 2)
        assert not waiting.done()

        await passes(2 * FORGOTTEN_AFTER_S)
        assert waiting.done()

    led(story)
