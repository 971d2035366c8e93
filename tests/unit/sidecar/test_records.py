"""What survives a restart: one release per model, requests until they end, an archive."""

from dataclasses import replace

import pytest

from sidecar.core.fleet import Desired, Kept, OperationKind
from sidecar.core.release import ReleaseState, admit
from sidecar.errors import StateConflict
from sidecar.runtime.records import Records
from tests.builders import asked_at, operation
from tests.fakes.state import FakeState


def release(number: int):  # type: ignore[no-untyped-def]  # noqa: ANN201
    return admit(release_id=f"m.{number}", model="m", version=number, base=1, actor="ann", at_s=1.0)


async def test_what_was_written_is_read_again() -> None:
    state = FakeState()
    records = Records(state)
    await records.set_desired("m", Desired(loaded=True, requested_at_s=5.0))
    await records.set_serving("m", 3)
    await records.begin_release(release(2))
    asked = operation(OperationKind.LOAD)
    await records.begin_operation(asked)

    again = Records(state)
    assert await again.desired() == {"m": Desired(loaded=True, requested_at_s=5.0)}
    assert await again.serving() == {"m": 3}
    assert await again.releases() == {"m": release(2)}
    assert await again.operations() == (asked,)


async def test_a_model_has_one_active_release() -> None:
    records = Records(FakeState())
    await records.begin_release(release(2))
    with pytest.raises(StateConflict, match=r"m.2 is admitted"):
        await records.begin_release(release(3))
    assert await records.releases() == {"m": release(2)}


async def test_an_ended_release_is_followed_and_stays_in_the_archive() -> None:
    records = Records(FakeState())
    await records.begin_release(release(2))
    refused = release(2).entered(ReleaseState.REFUSED, at_s=2.0, note="wrong")
    await records.move_release(refused)
    await records.begin_release(release(3))
    assert await records.releases() == {"m": release(3)}
    assert await records.release("m.2") == refused
    assert await records.release("m.3") == release(3)
    assert await records.release("m.4") is None


async def test_a_release_that_was_followed_cannot_be_moved() -> None:
    records = Records(FakeState())
    with pytest.raises(StateConflict, match="not the newest release"):
        await records.move_release(release(2))

    await records.begin_release(release(2))
    refused = release(2).entered(ReleaseState.REFUSED, at_s=2.0, note="wrong")
    await records.move_release(refused)
    await records.begin_release(release(3))
    with pytest.raises(StateConflict, match="not the newest release"):
        await records.move_release(refused)
    assert await records.releases() == {"m": release(3)}


async def test_an_ended_operation_is_found_in_the_archive() -> None:
    records = Records(FakeState())
    asked = operation(OperationKind.LOAD)
    await records.begin_operation(asked)
    ended = replace(asked, finished_at_s=9.0)
    await records.end_operation(ended)
    assert await records.operations() == ()
    assert await records.operation(asked.id) == ended
    await records.end_operation(ended)
    assert await records.operation("other") is None


async def test_the_same_value_is_not_written_twice() -> None:
    state = FakeState()
    records = Records(state)
    await records.set_serving("m", 1)
    before = dict(state.objects)
    await records.set_serving("m", 1)
    assert state.objects == before


async def test_what_nobody_changed_is_not_read_again_and_what_somebody_changed_is() -> None:
    state = FakeState()
    records = Records(state)
    await records.set_serving("m", 1)
    before = await records.serving()
    await records.set_demand("m", asked_at(5.0))
    assert await records.serving() is before

    await Records(state).set_serving("m", 2)
    assert await records.serving() == {"m": 2}
    await records.keep("m", Kept(since_s=1.0, reason="why"))
    await records.let_go("m")
    assert await records.kept() == {}
