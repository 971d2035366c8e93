"""What people may ask about releases: accepted and recorded, or refused with nothing changed."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from contract.layout import Store
from sidecar.core.events import EventName
from sidecar.core.fleet import Operation, OperationKind, Profile, Rejection, Server
from sidecar.core.release import CAN_ROLL_BACK, Release, ReleaseState
from sidecar.core.routing import Replica
from sidecar.core.strategy import DEFAULT_STRATEGY, Copies, Strategy
from sidecar.errors import RejectedVersion, RequestRefused
from sidecar.runtime.records import Records
from sidecar.runtime.releases import SUPERSEDED_WITHIN_S, Releases
from sidecar.runtime.requests import Requests
from sidecar.runtime.route import Router
from sidecar.runtime.telemetry import Telemetry
from sidecar.runtime.trains import Trains
from tests.builders import publish, release, signature, tensor
from tests.fakes.gateway import OWN, FakeGateway
from tests.fakes.state import FakeState
from tests.fakes.virtual_time import run_virtually
from tests.unit.sidecar.rig import Rig, run
from tests.unit.sidecar.test_cycles import come_to, release_2, serving_version_1
from tests.unit.sidecar.test_requests import snapshot_of, world_of

S = ReleaseState
K = OperationKind
SHIFT = Strategy(shift=(5, 50))
OTHER = Replica(name="other", http="o:1", grpc="o:2", models=frozenset())


class Desk:
    """Of `m`, version 1 serves, 2 and 4 are as good, and 3 answers something else.

    Nobody moves a release unless a test does it.
    """

    def __init__(
        self, root: Path, *, gateway: bool = False, others: tuple[Replica, ...] = ()
    ) -> None:
        self.store = Store(root / "store")
        for number in (1, 2, 4):
            publish(self.store, "m", number, tier="hot")
        publish(self.store, "m", 3, tier="hot", signed=signature(outputs=[tensor("y", 3)]))
        publish(self.store, "new", 1)
        self.state = FakeState()
        router = Router(FakeGateway() if gateway else None, OWN, Telemetry(self.state))
        router.see(others)
        world = world_of(self.store, self.state, router=router)
        self.records = world.records
        self.releases = Releases(world, Requests(world, lambda: Profile.PRODUCTION))
        self.trains = Trains(world)

    async def serve(self, version: int = 1, *, found: Release | None = None) -> None:
        """`found` is the model's newest release."""
        await self.records.set_serving("m", version)
        if found is not None:
            await self.records.begin_release(found)

    async def refused(self, asked: Awaitable[object]) -> RequestRefused:
        before = snapshot_of(self.state)
        with pytest.raises(RequestRefused) as caught:
            await asked
        assert snapshot_of(self.state) == before
        return caught.value

    async def newest(self) -> Release:
        return (await self.records.releases())["m"]

    async def stands(self, found: Release) -> None:
        """So the newest release is now, in the record."""
        await self.records.move_release(found)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


async def test_a_release_is_admitted_over_the_version_that_serves(desk: Desk) -> None:
    await desk.serve()
    asked = await desk.releases.begin("m", 2, actor="ann")

    found = await desk.newest()
    assert (asked.kind, asked.release_id) == (K.RELEASE, found.id)
    assert (found.version, found.base, found.actor, found.state) == (2, 1, "ann", S.ADMITTED)
    assert found.strategy == DEFAULT_STRATEGY
    assert await desk.records.operations() == (asked,)
    told = [event.name for event in desk.state.events]
    assert told == [EventName.RELEASE_MOVED, EventName.OPERATION_ACCEPTED]


async def test_a_release_goes_about_it_as_it_was_asked_to(desk: Desk) -> None:
    await desk.serve()
    strategy = Strategy(copies=Copies.ONE_AT_A_TIME, soak_s=3.5)

    await desk.releases.begin("m", 2, actor="ann", strategy=strategy)

    assert (await Records(desk.state).releases())["m"].strategy == strategy


async def test_a_first_version_may_have_any_signature(desk: Desk) -> None:
    await desk.releases.begin("m", 3, actor="ann")

    assert (await desk.newest()).base is None


async def test_a_version_that_was_refused_without_evidence_may_be_tried_again(desk: Desk) -> None:
    await desk.serve(found=release(S.REFUSED, at_s=1.0))

    await desk.releases.begin("m", 2, actor="ann")

    assert (await desk.newest()).state is S.ADMITTED


@pytest.mark.parametrize(
    ("asked", "code", "said"),
    [
        (lambda r: r.begin("x", 1, actor="a"), "unknown_model", "no model 'x' in the store"),
        (
            lambda r: r.begin("m", 9, actor="a"),
            "unknown_version",
            "m has no version 9 in the store; it has 1, 2, 3, 4",
        ),
        (
            lambda r: r.begin("m", 1, actor="a"),
            "already_serving",
            "version 1 of m serves already",
        ),
        (
            lambda r: r.begin("m", 3, actor="a"),
            "signature_changed",
            "version 3 of m does not take the requests that version 1 takes: output y FP32[2] -> "
            "y FP32[3]; publish it as a model of its own",
        ),
        (
            lambda r: r.begin("m", 3, actor="a", supersede=True),
            "signature_changed",
            "publish it as a model of its own",
        ),
        (
            lambda r: r.begin("new", 1, actor="a", strategy=SHIFT),
            "nothing_to_shift",
            "new has no version from which requests could be shifted; leave shift out",
        ),
        (
            lambda r: r.begin("m", 2, actor="a", strategy=SHIFT),
            "no_gateway",
            "leave shift out, or add a section `gateway` to the settings",
        ),
        (lambda r: r.roll_back("x", actor="a"), "unknown_model", "no model 'x' in the store"),
        (lambda r: r.roll_back("m", actor="a"), "nothing_to_roll_back", "it never had one"),
        (lambda r: r.ask("m.7", K.PAUSE, actor="a"), "unknown_release", "no release 'm.7'"),
        (
            lambda r: r.clear_rejection("m", 2, actor="a"),
            "not_rejected",
            "version 2 of m was not rejected",
        ),
    ],
)
async def test_what_does_not_fit_is_refused_and_changes_nothing(
    desk: Desk, asked: Callable[[Releases], Awaitable[object]], code: str, said: str
) -> None:
    await desk.serve()

    refused = await desk.refused(asked(desk.releases))

    assert refused.code == code
    assert said in refused.detail


async def test_a_model_that_is_being_released_has_no_second_release(desk: Desk) -> None:
    await desk.serve(found=release(S.VERIFYING))

    refused = await desk.refused(desk.releases.begin("m", 4, actor="a"))

    assert refused.code == "release_active"
    assert refused.detail == (
        "m is being released: release m.2 of version 2 is verifying; wait for it or roll it back"
    )


async def test_of_many_releases_at_once_one_is_admitted(desk: Desk) -> None:
    await desk.serve()

    results = await asyncio.gather(
        *(desk.releases.begin("m", 2, actor="a") for _ in range(5)), return_exceptions=True
    )

    refused = [result for result in results if isinstance(result, RequestRefused)]
    assert [each.code for each in refused] == ["release_active"] * 4
    assert len(await desk.records.operations()) == 1


# Shares of the requests.


async def test_requests_are_shifted_by_the_gateway(tmp_path: Path) -> None:
    desk = Desk(tmp_path, gateway=True)
    await desk.serve()

    await desk.releases.begin("m", 2, actor="a", strategy=SHIFT)

    assert (await desk.newest()).strategy.shift == (5, 50)


async def test_requests_are_not_shifted_while_others_answer_them_too(tmp_path: Path) -> None:
    desk = Desk(tmp_path, gateway=True, others=(OTHER,))
    await desk.serve()

    refused = await desk.refused(desk.releases.begin("m", 2, actor="a", strategy=SHIFT))

    assert refused.code == "not_alone"
    assert "release on each of them" in refused.detail
    await desk.releases.begin("m", 2, actor="a")


@pytest.mark.parametrize(
    "asked",
    [
        lambda desk: desk.releases.begin("m", 4, actor="a", strategy=SHIFT),
        lambda desk: desk.trains.begin(["m"], actor="a", strategy=SHIFT),
    ],
    ids=["release", "train"],
)
async def test_requests_of_a_sequence_are_not_shared_between_versions(
    tmp_path: Path, asked: Callable[[Desk], Awaitable[object]]
) -> None:
    desk = Desk(tmp_path, gateway=True)
    await desk.serve()
    config = desk.store.version("m", 4).config
    batching = "dynamic_batching { preferred_batch_size: [4] }"
    config.write_text(config.read_text().replace(batching, "sequence_batching { }"))

    refused = await desk.refused(asked(desk))

    assert refused.code == "stateful_model"
    assert "leave shift out" in refused.detail


# A version that the evidence was against.


async def test_a_rejected_version_waits_until_somebody_clears_it(desk: Desk) -> None:
    await desk.serve()
    rejection = Rejection(at_s=1.0, release="m.2.x", reason="slower by half")
    await desk.records.reject("m", 2, rejection)

    refused = await desk.refused(desk.releases.begin("m", 2, actor="a", supersede=True))
    assert isinstance(refused, RejectedVersion)
    assert refused.code == "version_rejected"
    assert "was refused in release m.2.x: slower by half; publish" in refused.detail
    await desk.releases.begin("m", 4, actor="a")
    await desk.stands((await desk.newest()).entered(S.REFUSED, at_s=2.0, note="asked"))

    await desk.releases.clear_rejection("m", 2, actor="bob")

    assert await desk.records.rejected() == {}
    event = desk.state.events[-1]
    assert (event.name, event.model) == (EventName.REJECTION_CLEARED, "m")
    assert dict(event.detail) == {"actor": "bob", "version": 2}
    await desk.releases.begin("m", 2, actor="a")


# One release in the place of another.


async def follow(desk: Desk, *states: ReleaseState) -> Operation:
    """What the loop does with an abort, a moment later."""
    await asyncio.sleep(1.0)
    (abort,) = await desk.records.operations()
    for state in states:
        await asyncio.sleep(1.0)
        found = await desk.newest()
        await desk.stands(found.entered(state, at_s=2.0, note="aborted by ann"))
    await desk.records.end_operation(replace(abort, finished_at_s=3.0))
    return abort


@pytest.mark.parametrize(
    ("state", "then"),
    [
        (S.COMPARING, (S.REFUSED,)),
        (S.SOAKING, (S.ROLLING_BACK, S.ROLLED_BACK)),
    ],
)
def test_a_release_that_goes_on_is_ended_before_another_takes_its_place(
    tmp_path: Path, state: ReleaseState, then: tuple[ReleaseState, ...]
) -> None:
    async def story() -> None:
        desk = Desk(tmp_path)
        first = release(state, at_s=1.0)
        await desk.serve(found=first)
        loop = asyncio.create_task(follow(desk, *then))

        asked = await desk.releases.begin("m", 4, actor="ann", supersede=True)

        abort = await loop
        assert (abort.kind, abort.release_id, abort.actor) == (K.ABORT, first.id, "ann")
        found = await desk.newest()
        assert (found.id, found.version, found.base) == (asked.release_id, 4, 1)
        ended = await desk.records.release(first.id)
        assert ended is not None
        assert ended.state is then[-1]

    run_virtually(story())


def test_a_release_that_goes_back_by_itself_is_waited_for_by_what_takes_its_place(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        desk = Desk(tmp_path)
        first = release(S.ROLLING_BACK, at_s=1.0)
        await desk.serve(found=first)
        asking = asyncio.create_task(desk.releases.begin("m", 4, actor="ann", supersede=True))
        await asyncio.sleep(1.0)
        await desk.stands(first.entered(S.ROLLED_BACK, at_s=2.0, note="answers were worse"))

        asked = await asking

        assert await desk.records.operations() == (asked,)
        assert (await desk.newest()).version == 4

    run_virtually(story())


def test_a_release_that_takes_long_to_end_is_not_waited_for(tmp_path: Path) -> None:
    async def story() -> None:
        desk = Desk(tmp_path)
        await desk.serve(found=release(S.SOAKING, at_s=1.0))
        began_s = asyncio.get_running_loop().time()

        with pytest.raises(RequestRefused) as caught:
            await desk.releases.begin("m", 4, actor="ann", supersede=True)

        waited_s = asyncio.get_running_loop().time() - began_s
        assert waited_s == pytest.approx(SUPERSEDED_WITHIN_S, abs=0.1)
        assert caught.value.code == "release_active"
        assert caught.value.detail == (
            "release m.2 makes way for version 4, but goes back still after 25 s; ask again when "
            "it has ended"
        )
        assert [each.kind for each in await desk.records.operations()] == [K.ABORT]
        assert (await desk.newest()).version == 2

    run_virtually(story())


async def test_a_release_does_not_take_its_own_place(desk: Desk) -> None:
    await desk.serve(found=release(S.VERIFYING))

    refused = await desk.refused(desk.releases.begin("m", 2, actor="a", supersede=True))

    assert refused.code == "release_active"


@pytest.mark.parametrize(
    "found",
    [release(S.DONE, version=1, base=None), release(S.SOAKING)],
    ids=["alone", "beside another"],
)
async def test_what_serves_already_takes_no_place(desk: Desk, found: Release) -> None:
    """To stay with it, the release that goes on is aborted."""
    await desk.serve(found=found)

    refused = await desk.refused(desk.releases.begin("m", 1, actor="a", supersede=True))

    assert refused.code == "already_serving"


async def test_a_place_that_nobody_has_is_simply_taken(desk: Desk) -> None:
    await desk.serve(found=release(S.DONE, version=1, base=None))

    await desk.releases.begin("m", 2, actor="a", supersede=True)

    assert (await desk.newest()).version == 2


def test_traffic_has_an_answer_while_one_release_takes_the_place_of_another(
    tmp_path: Path,
) -> None:
    async def story(rig: Rig) -> None:
        await serving_version_1(rig)
        publish(rig.store, "m", 3, tier="hot")
        first = await release_2(rig)
        await come_to(rig, S.SOAKING)

        third = await rig.sidecar.releases.begin("m", 3, actor="bob", supersede=True)

        ended = await rig.ended(first)
        assert ended.error is not None
        assert (await rig.ended(third)).error is None
        assert rig.loaded(Server.SERVING) == [{1}, {1, 2}, {1}, {1, 3}, {3}]

    run(tmp_path, story)


# What is asked of a release that goes on.


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        (S.AWAITING, K.PROMOTE),
        (S.SHIFTING, K.PROMOTE),
        (S.SOAKING, K.PROMOTE),
        (S.COMPARING, K.PAUSE),
        (S.FINISHING, K.PAUSE),
        (S.ADMITTED, K.ABORT),
        (S.SOAKING, K.ABORT),
        (S.RESTORING, K.ABORT),
    ],
)
async def test_what_a_release_can_do_is_accepted(
    desk: Desk, state: ReleaseState, kind: OperationKind
) -> None:
    await desk.serve(found=release(state))

    asked = await desk.releases.ask("m.2", kind, actor="ann")

    assert (asked.kind, asked.model, asked.release_id, asked.actor) == (kind, "m", "m.2", "ann")
    assert await desk.records.operations() == (asked,)
    assert await desk.newest() == release(state), "the loop moves it, nobody else"


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        (S.COMPARING, K.PROMOTE),
        (S.FINISHING, K.PROMOTE),
        (S.ROLLING_BACK, K.PAUSE),
        (S.SOAKING, K.RESUME),
        (S.ROLLING_BACK, K.ABORT),
        *((state, kind) for state in (S.DONE, S.REFUSED) for kind in (K.PAUSE, K.ABORT)),
    ],
)
async def test_what_a_release_cannot_do_is_refused(
    desk: Desk, state: ReleaseState, kind: OperationKind
) -> None:
    await desk.serve(found=release(state))

    refused = await desk.refused(desk.releases.ask("m.2", kind, actor="ann"))

    assert refused.code == "release_elsewhere"
    assert refused.detail == f"cannot {kind} release m.2: it is {state}"


async def test_a_paused_release_can_be_resumed_and_not_paused_again(desk: Desk) -> None:
    await desk.serve(found=release(S.SOAKING, paused_by="bob"))

    refused = await desk.refused(desk.releases.ask("m.2", K.PAUSE, actor="ann"))
    assert refused.detail == "cannot pause release m.2: it is paused, and soaking"
    assert (await desk.releases.ask("m.2", K.RESUME, actor="ann")).kind is K.RESUME


async def test_a_release_that_cannot_go_back_any_more_can_be_aborted(desk: Desk) -> None:
    """The version to which it goes back is gone from the store."""
    await desk.serve(found=release(S.ROLLING_BACK, base=7))

    assert (await desk.releases.ask("m.2", K.ABORT, actor="ann")).kind is K.ABORT


async def test_nothing_is_asked_of_a_release_that_was_followed_by_another(desk: Desk) -> None:
    await desk.serve(found=release(S.REFUSED, at_s=1.0))
    await desk.releases.begin("m", 4, actor="a")

    refused = await desk.refused(desk.releases.ask("m.2", K.ABORT, actor="a"))

    assert refused.code == "release_elsewhere"


@pytest.mark.parametrize("state", sorted(CAN_ROLL_BACK))
async def test_what_has_not_gone_back_yet_can_be_rolled_back(
    desk: Desk, state: ReleaseState
) -> None:
    await desk.serve(found=release(state))

    asked = await desk.releases.roll_back("m", actor="ann")

    assert (asked.kind, asked.release_id) == (K.ROLLBACK, "m.2")


@pytest.mark.parametrize("state", [S.RESTORING, S.ROLLING_BACK, S.ROLLED_BACK, S.REFUSED])
async def test_what_goes_back_already_cannot_be_rolled_back(
    desk: Desk, state: ReleaseState
) -> None:
    await desk.serve(found=release(state))

    refused = await desk.refused(desk.releases.roll_back("m", actor="a"))

    assert refused.code == "nothing_to_roll_back"
    assert f"version 2 is {state}" in refused.detail


async def test_a_first_version_has_nothing_to_go_back_to(desk: Desk) -> None:
    await desk.serve(found=release(S.DONE, version=1, base=None))

    refused = await desk.refused(desk.releases.roll_back("m", actor="a"))

    assert refused.detail == "m has no release to roll back: version 1 is its first"


async def serves_2_after(desk: Desk, *ended: Release) -> Release:
    """The release that brought version 2, which serves, and was followed by these."""
    brought = release(S.DONE, at_s=1.0)
    await desk.serve(2, found=brought)
    for each in ended:
        await desk.records.begin_release(each)
    return brought


REFUSED = release(S.REFUSED, version=4, base=2, at_s=2.0)
WENT_BACK = release(S.ROLLED_BACK, version=3, base=2, at_s=1.5)


async def test_a_refused_release_does_not_stand_in_the_way_back(desk: Desk) -> None:
    brought = await serves_2_after(desk, REFUSED)

    asked = await desk.releases.roll_back("m", actor="ann")

    back = await desk.newest()
    assert (asked.kind, asked.release_id) == (K.ROLLBACK, back.id)
    assert (back.state, back.version, back.base, back.actor) == (S.RESTORING, 2, 1, "ann")
    assert back.reason == "rollback of release m.2 requested by ann"
    assert back.has_heeded(asked.id)
    assert await desk.records.release(brought.id) == brought
    assert await desk.records.release(REFUSED.id) == REFUSED
    told = [event.name for event in desk.state.events]
    assert told == [EventName.RELEASE_MOVED, EventName.OPERATION_ACCEPTED]


@pytest.mark.parametrize("since", [(WENT_BACK,), (WENT_BACK, REFUSED)])
async def test_to_go_back_twice_the_release_has_to_be_named(
    desk: Desk, since: tuple[Release, ...]
) -> None:
    brought = await serves_2_after(desk, *since)

    refused = await desk.refused(desk.releases.roll_back("m", actor="a"))
    assert (refused.code, refused.detail) == (
        "nothing_to_roll_back",
        "m has no release to roll back: release m.3 of version 3 is rolled_back; to go back "
        "further, from version 2 to 1: `pilotlight rollback m.2`",
    )

    await desk.releases.roll_back("m", actor="a", release_id=brought.id)
    assert ((await desk.newest()).version, (await desk.newest()).base) == (2, 1)


async def test_only_what_brought_the_version_that_serves_goes_back(desk: Desk) -> None:
    await serves_2_after(desk, WENT_BACK, REFUSED)

    refused = await desk.refused(desk.releases.roll_back("m", actor="a", release_id=WENT_BACK.id))
    assert refused.detail.endswith("version 2 serves since release m.2, and not since m.3")
    refused = await desk.refused(desk.releases.roll_back("m", actor="a", release_id=REFUSED.id))
    assert refused.detail.endswith("release m.4 of version 4 is refused")


async def test_nothing_goes_back_to_a_version_that_the_store_has_lost(desk: Desk) -> None:
    await desk.serve(2, found=release(S.DONE, base=7, at_s=1.0))
    await desk.records.begin_release(REFUSED)

    refused = await desk.refused(desk.releases.roll_back("m", actor="a"))

    assert refused.detail.endswith("version 7, which served before, is no longer in the store")


async def test_of_the_releases_that_brought_it_the_newest_goes_back(desk: Desk) -> None:
    again = replace(release(S.DONE, base=4, at_s=1.8), id="m.2.again")
    await serves_2_after(desk, release(S.DONE, version=4, base=2, at_s=1.5), again, REFUSED)

    await desk.releases.roll_back("m", actor="a")

    assert (await desk.newest()).base == 4
