"""What people may ask for: accepted and recorded, or refused with nothing changed."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import structlog

from contract.layout import Store
from sidecar.adapters.model_store import StoreFolder
from sidecar.core.fleet import Desired, Operation, OperationKind, Profile
from sidecar.core.release import ReleaseState
from sidecar.errors import RequestRefused
from sidecar.runtime.activate import Waiting
from sidecar.runtime.board import Board
from sidecar.runtime.records import Records
from sidecar.runtime.requests import Requests
from sidecar.runtime.route import Router
from sidecar.runtime.telemetry import Telemetry
from sidecar.runtime.world import World
from tests.builders import publish, release
from tests.fakes.gateway import OWN
from tests.fakes.meter import FakeMeter
from tests.fakes.page_cache import FakePageCache
from tests.fakes.process import FakeProcess
from tests.fakes.recordings import FakeRecordings
from tests.fakes.state import FakeState

S = ReleaseState
Request = Callable[[Requests], Awaitable[Operation]]


@pytest.fixture
def state() -> FakeState:
    return FakeState()


@pytest.fixture
def records(state: FakeState) -> Records:
    return Records(state)


def world_of(store: Store, state: FakeState, **ports: Any) -> World:
    """Without servers, unless `ports` has some; nobody does what is asked for."""
    others: dict[str, Any] = {
        "servers": {},
        "stages": {},
        "store": StoreFolder(store, {}),
        "process": FakeProcess(),
        "meter": FakeMeter(),
        "page_cache": FakePageCache(),
        "recordings": FakeRecordings(),
        "records": Records(state),
        "board": Board(),
        "waiting": Waiting(),
        "router": Router(None, OWN, Telemetry(state)),
        "telemetry": Telemetry(state),
    }
    return World(**(others | ports))


@pytest.fixture
def requests(tmp_path: Path, state: FakeState, records: Records) -> Requests:
    """Hot `m` and cold `c` in version 1."""
    store = Store(tmp_path / "store")
    publish(store, "m", 1, tier="hot")
    publish(store, "c", 1)
    return Requests(world_of(store, state, records=records), lambda: Profile.PRODUCTION)


def snapshot_of(state: FakeState) -> dict[str, str]:
    return {key: stored.value for key, stored in state.objects.items()}


async def test_a_load_is_recorded_as_wish_and_operation(
    requests: Requests, records: Records
) -> None:
    asked = await requests.load("c", actor="ann")

    assert (asked.kind, asked.model, asked.actor) == (OperationKind.LOAD, "c", "ann")
    assert await records.operations() == (asked,)
    assert await records.desired() == {"c": Desired(loaded=True, requested_at_s=asked.created_at_s)}


async def test_an_unload_takes_the_wish_back(requests: Requests, records: Records) -> None:
    await requests.load("c", actor="ann")
    asked = await requests.unload("c", actor="bob")

    assert (await records.desired())["c"].loaded is False
    assert asked in await records.operations()


@pytest.mark.parametrize(
    ("request_", "told"),
    [
        (lambda r: r.load("n", actor="a"), ("unknown_model", "no model 'n' in the store")),
        (lambda r: r.unload("x", actor="a"), ("unknown_model", "no model 'x' in the store")),
        (lambda r: r.unload("m", actor="a"), ("model_is_hot", "make its tier cold first")),
    ],
)
async def test_what_does_not_fit_is_refused_and_changes_nothing(
    requests: Requests, records: Records, state: FakeState, request_: Request, told: tuple[str, str]
) -> None:
    await records.set_serving("m", 1)
    before = snapshot_of(state)

    with pytest.raises(RequestRefused) as caught:
        await request_(requests)

    code, said = told
    assert caught.value.code == code
    assert said in caught.value.detail
    assert snapshot_of(state) == before


async def test_a_model_that_is_being_released_stays(
    requests: Requests, records: Records, state: FakeState
) -> None:
    await records.begin_release(release(S.VERIFYING, of="c", version=1, base=None))
    before = snapshot_of(state)

    with pytest.raises(RequestRefused, match="c is being released") as caught:
        await requests.unload("c", actor="a")

    assert caught.value.code == "release_active"
    assert snapshot_of(state) == before


async def test_many_loads_at_once_are_all_accepted(requests: Requests, records: Records) -> None:
    """The wish is the same; each caller gets an operation of its own."""
    accepted = await asyncio.gather(*(requests.load("c", actor="a") for _ in range(5)))

    assert len({operation.id for operation in accepted}) == 5
    assert set(await records.operations()) == set(accepted)


async def test_every_request_is_told(requests: Requests, state: FakeState) -> None:
    with structlog.testing.capture_logs() as logs:
        asked = await requests.load("c", actor="ann")

    said = {"operation": asked.id, "kind": "load", "actor": "ann"}
    assert logs == [{"event": "operation_accepted", "log_level": "info", "model": "c", **said}]
    (event,) = state.events
    assert said.items() <= dict(event.detail).items()
