"""What people may ask for: accepted and recorded, or refused with nothing changed."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

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
from tests.builders import publish, release, signature, tensor
from tests.fakes.gateway import OWN
from tests.fakes.meter import FakeMeter
from tests.fakes.page_cache import FakePageCache
from tests.fakes.process import FakeProcess
from tests.fakes.state import FakeState

S = ReleaseState
Request = Callable[[Requests], Awaitable[Operation]]


@pytest.fixture
def state() -> FakeState:
    return FakeState()


@pytest.fixture
def records(state: FakeState) -> Records:
    return Records(state)


@pytest.fixture
def requests(tmp_path: Path, state: FakeState, records: Records) -> Requests:
    """Hot `m` in versions 1, 2 and 3, where 3 answers something else; cold `c` in version 1."""
    store = Store(tmp_path / "store")
    publish(store, "m", 1, tier="hot")
    publish(store, "m", 2, tier="hot")
    publish(store, "m", 3, tier="hot", signed=signature(outputs=[tensor("y", 3)]))
    publish(store, "c", 1)
    world = World(
        servers={},
        stages={},
        store=StoreFolder(store, {}),
        process=FakeProcess(),
        meter=FakeMeter(),
        page_cache=FakePageCache(),
        records=records,
        board=Board(),
        waiting=Waiting(),
        router=Router(None, OWN, Telemetry(state)),
        telemetry=Telemetry(state),
    )
    return Requests(world, lambda: Profile.PRODUCTION)


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


async def test_a_release_is_admitted_over_the_version_that_serves(
    requests: Requests, records: Records
) -> None:
    await records.set_serving("m", 1)
    asked = await requests.release("m", 2, actor="ann")

    found = (await records.releases())["m"]
    assert asked.release_id == found.id
    assert (found.version, found.base, found.actor, found.state) == (2, 1, "ann", S.ADMITTED)


async def test_a_first_version_may_have_any_signature(requests: Requests, records: Records) -> None:
    await requests.release("m", 3, actor="ann")

    assert (await records.releases())["m"].base is None


async def test_a_refused_version_may_be_tried_again(requests: Requests, records: Records) -> None:
    await records.set_serving("m", 1)
    await records.begin_release(release(S.REFUSED, at_s=1.0))

    await requests.release("m", 2, actor="ann")

    assert (await records.releases())["m"].state is S.ADMITTED


@pytest.mark.parametrize(
    ("request_", "told"),
    [
        (lambda r: r.load("n", actor="a"), ("unknown_model", "no model 'n' in the store")),
        (lambda r: r.unload("x", actor="a"), ("unknown_model", "no model 'x' in the store")),
        (lambda r: r.unload("m", actor="a"), ("model_is_hot", "make its tier cold first")),
        (lambda r: r.release("x", 1, actor="a"), ("unknown_model", "no model 'x' in the store")),
        (
            lambda r: r.release("m", 9, actor="a"),
            ("unknown_version", "m has no version 9 in the store; it has 1, 2, 3"),
        ),
        (
            lambda r: r.release("m", 1, actor="a"),
            ("already_serving", "version 1 of m serves already"),
        ),
        (
            lambda r: r.release("m", 3, actor="a"),
            (
                "signature_changed",
                "output y FP32[2] -> y FP32[3]; publish it as a model of its own",
            ),
        ),
        (lambda r: r.roll_back("x", actor="a"), ("unknown_model", "no model 'x' in the store")),
        (lambda r: r.roll_back("m", actor="a"), ("nothing_to_roll_back", "it never had one")),
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


@pytest.mark.parametrize(
    "request_",
    [
        lambda r: r.release("c", 1, actor="a"),
        lambda r: r.unload("c", actor="a"),
    ],
    ids=["release", "unload"],
)
async def test_a_model_that_is_being_released_is_left_alone(
    requests: Requests, records: Records, state: FakeState, request_: Request
) -> None:
    await records.begin_release(release(S.VERIFYING, of="c", version=1, base=None))
    before = snapshot_of(state)

    with pytest.raises(RequestRefused, match="c is being released") as caught:
        await request_(requests)

    assert caught.value.code == "release_active"
    assert snapshot_of(state) == before


@pytest.mark.parametrize("state_", [S.RESTORING, S.ROLLING_BACK, S.ROLLED_BACK, S.REFUSED])
async def test_what_goes_back_already_cannot_be_rolled_back(
    requests: Requests, records: Records, state_: ReleaseState
) -> None:
    await records.begin_release(release(state_))

    with pytest.raises(RequestRefused, match=f"version 2 is {state_}") as caught:
        await requests.roll_back("m", actor="a")

    assert caught.value.code == "nothing_to_roll_back"


async def test_of_many_releases_at_once_one_is_admitted(
    requests: Requests, records: Records
) -> None:
    await records.set_serving("m", 1)

    results = await asyncio.gather(
        *(requests.release("m", 2, actor="a") for _ in range(5)), return_exceptions=True
    )

    refused = [result for result in results if isinstance(result, RequestRefused)]
    assert [each.code for each in refused] == ["release_active"] * 4
    assert len(await records.operations()) == 1


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
