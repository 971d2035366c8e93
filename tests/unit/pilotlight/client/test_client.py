"""Both clients, on a sidecar behind a real port."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest

from pilotlight.client import (
    DeadlinePassed,
    OperationFailed,
    Recording,
    Spec,
    Stale,
    Steering,
    StillRunning,
    Strategy,
    TimedOut,
)
from tests.builders import publish
from tests.unit.sidecar.test_api_served import Served

WITHIN_S = 40.0
# Latencies on a busy machine may need long to tell, and have tests of their own.
QUICK = Strategy(latency_margin=None, soak_s=0)


async def first(items: Any) -> Any:
    return await anext(aiter(items))


def seen(served: Served) -> Mapping[str, object]:
    found = served.rig.sidecar.loop.snapshot
    return found.models if found else {}


async def all_of(items: Any) -> list[Any]:
    return [item async for item in items]


async def test_models_come_in_pages_and_by_tier(client: Any) -> None:
    assert [model.name for model in await all_of(client.models.list(page_size=1))] == ["c", "m"]
    (hot,) = await all_of(client.models.list(tier="hot"))
    assert (hot.name, hot.warmth, hot.serving_version) == ("m", "warmed", 1)


async def test_a_load_is_waited_for(client: Any, at_rest: Served) -> None:
    operation = await client.models.load("c")
    assert (operation.kind, operation.model, operation.done) == ("load", "c", False)

    ended = await client.operations.wait(operation, timeout_s=WITHIN_S)

    assert ended.done
    assert at_rest.rig.serving.ready("c") == {1}
    assert (await client.operations.get(operation.location)).finished_at == ended.finished_at


async def test_an_operation_that_goes_on_is_no_success(client: Any) -> None:
    await client.pause()
    operation = await client.models.load("c")

    with pytest.raises(
        StillRunning, match=r"load of c goes on after 0.1 s and waits for .* paused; look at /v1/op"
    ) as told:
        await client.operations.wait(operation, timeout_s=0.1)

    assert isinstance(told.value, OperationFailed)
    assert isinstance(told.value, TimedOut)
    assert told.value.operation.id == operation.id


async def test_an_operation_that_fails_says_why(client: Any, at_rest: Served) -> None:
    publish(at_rest.rig.store, "bad", 1, broken="no such operator")
    at_rest.rig.sidecar.world.waiting.wake.set()
    await at_rest.rig.until(lambda: "bad" in seen(at_rest), "it is seen")

    operation = await client.models.load("bad")

    with pytest.raises(OperationFailed, match=r"^load of bad: .*no such operator"):
        await client.operations.wait(operation, timeout_s=WITHIN_S)


async def test_ensure_says_how_the_model_was_found(client: Any) -> None:
    assert (await client.models.ensure("c")).outcome == "cold"
    assert (await client.models.ensure("c", timeout_s=0.5)).outcome == "hit"


async def test_ensure_keeps_its_time(client: Any, at_rest: Served) -> None:
    at_rest.rig.serving.add_faults("load c: slow 60s")
    with pytest.raises(DeadlinePassed) as told:
        await client.models.ensure("c", timeout_s=0.2)
    assert isinstance(told.value, TimedOut)


async def test_a_change_that_was_made_for_another_state_is_stale(client: Any) -> None:
    before = await client.models.spec("c")
    assert (before.etag, before.overrides.tier, before.effective.tier) == (None, None, "cold")

    after = await client.models.change_spec("c", Spec(tier="warm", priority=3), read=before)
    with pytest.raises(Stale):
        await client.models.change_spec("c", Spec(tier="auto"), read=before)
    last = await client.models.change_spec("c", Spec(priority=None), read=after)

    assert (last.effective.tier, last.overrides.priority) == ("warm", None)
    assert (await client.models.spec("c")).etag == last.etag


async def test_a_change_without_a_state_is_made_for_the_present_one(client: Any) -> None:
    await client.traffic.set("m", Steering(weights={1: 9, 2: 1}, sticky_header="x-user"))
    await client.traffic.set("m", Steering(weights={1: 1, 2: 1}))
    assert (await client.traffic.get("m")).said.weights == {1: 1, 2: 1}

    await client.traffic.end("m")

    assert (await client.traffic.get("m")).said.weights == {}


async def test_requests_are_recorded_and_forgotten(client: Any) -> None:
    said = await client.recordings.set("m", Recording(percent=10, redact=("x",)))
    assert (said.said.percent, said.said.most, said.requests) == (10, 200, 0)
    x = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}

    kept = await client.recordings.keep("m", {"inputs": [x]})

    assert kept.requests == 1
    await client.recordings.end("m")
    assert (await client.recordings.get("m")).requests == 0


async def test_a_release_is_followed_to_its_end(client: Any) -> None:
    begun = await client.releases.begin("m", 2, strategy=QUICK)

    seen = await all_of(client.releases.follow(begun))

    assert [seen[0].active, seen[-1].active, seen[-1].state] == [True, False, "done"]
    assert all(one != other for one, other in pairwise(seen))
    assert await client.releases.wait(begun.release, timeout_s=0) == seen[-1]
    assert (await first(client.releases.list(model="m"))).id == seen[-1].id
    assert (await client.releases.evidence(seen[-1])).compare.failures == 0
    assert (await client.models.get("m")).serving_version == 2


async def test_waiting_for_a_release_that_waits_for_a_person_ends(client: Any) -> None:
    manual = Strategy(approval="manual", latency_margin=None)
    begun = await client.releases.begin("m", 2, strategy=manual)

    with pytest.raises(TimedOut, match=r"the release of m 2 is \w+ after 0.2 s: "):
        await client.releases.wait(begun, timeout_s=0.2)

    await client.releases.abort(begun)
    assert (await client.releases.wait(begun, timeout_s=WITHIN_S)).state == "refused"


async def test_an_operation_about_no_release_is_none(client: Any) -> None:
    load = await client.models.load("c")
    with pytest.raises(ValueError, match="is a load, and about no release"):
        await client.releases.get(load)


async def test_a_train_runs_to_its_end(client: Any) -> None:
    train = await client.trains.begin(strategy=QUICK, at_once=2)
    assert [(car.model, car.version) for car in train.cars] == [("m", 2)]

    ended = await client.trains.wait(train, timeout_s=WITHIN_S)

    assert [car.state for car in ended.cars] == ["done"]


async def test_a_train_takes_what_has_never_served(client: Any, at_rest: Served) -> None:
    publish(at_rest.rig.store, "d")
    train = await client.trains.begin(["d"], strategy=QUICK, unserved=True)
    assert [(car.model, car.base) for car in train.cars] == [("d", None)]

    ended = await client.trains.wait(train, timeout_s=WITHIN_S)

    assert [car.state for car in ended.cars] == ["done"]


async def test_the_sidecar_says_what_it_is_about(client: Any) -> None:
    assert (await client.alive()).status == "alive"
    assert (await client.startup()).started
    assert (await client.readiness()).checks is None
    assert (await client.readiness(verbose=True)).checks
    assert (await client.caller()).role == "operator"
    assert (await client.policy()).parallel_loads == 4
    assert (await client.plan()).blocked == ()
    assert (await client.replica()).models == {"m": (1,)}
    assert (await client.gateway()).routed
    assert [each.device for each in (await client.devices()).devices] == ["cpu"]
    assert (await client.what_if(budgets={"cpu": "1GiB"}, load=["c"])).then.too_small == ()
    assert (await client.models.explain("m")).model.name == "m"
    assert (await client.pause()).mode == (await client.control()).mode == "paused"
    assert "pilotlight_" in await client.metrics()


async def test_a_drained_sidecar_is_not_ready_and_that_is_no_error(
    client: Any, at_rest: Served
) -> None:
    await client.drain()
    await at_rest.rig.until(lambda: at_rest.rig.missing() != [], "it drains")
    assert "draining" in (await client.readiness()).missing[0]


async def test_the_audit_is_read_in_pages_from_a_time_on(client: Any) -> None:
    began_at = datetime.now(UTC)
    await client.pause()
    await client.resume()

    found = await all_of(client.audit(event="mode_changed", since=began_at, page_size=1))

    assert [entry.detail["mode"] for entry in found] == ["paused", "running"]
    assert [entry.actor for entry in found] == ["api", "api"]


async def test_events_come_as_they_happen(client: Any) -> None:
    following = asyncio.create_task(first(client.events(model="c")))
    await asyncio.sleep(0)
    while not following.done():
        await client.models.change_spec("c", Spec(pin=True))
        await client.models.change_spec("c", Spec(pin=None))
    assert (await following).event == "spec_changed"
