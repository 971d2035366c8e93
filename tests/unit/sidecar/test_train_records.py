"""Trains on record: who writes second writes nothing, and what has ended is in the archive."""

from dataclasses import replace

import pytest

from sidecar.core.train import Car, CarState, Train
from sidecar.errors import StateConflict
from sidecar.runtime.records import Records
from tests.fakes.state import FakeState

TRAIN = Train(id="t", actor="ann", at_s=1.0, cars=(Car(model="a", version=2, base=1),))
GOING = replace(TRAIN, cars=(replace(TRAIN.cars[0], state=CarState.GOING, release="a.2"),))


async def test_a_stop_is_not_lost_to_a_look_from_before_it() -> None:
    records = Records(FakeState())
    await records.begin_train(TRAIN)
    stopped = TRAIN.stop("bob asked for it")
    await records.move_train(TRAIN, stopped)

    with pytest.raises(StateConflict, match="train/t"):
        await records.move_train(TRAIN, GOING)

    assert await records.trains() == {"t": stopped}


async def test_a_train_that_is_over_is_found_in_the_archive_alone() -> None:
    state = FakeState()
    records = Records(state)
    await records.begin_train(TRAIN)
    over = replace(TRAIN, finished_at_s=5.0)
    await records.move_train(TRAIN, over)

    assert (await records.trains(), await records.ended_trains()) == ({}, {"t": over})
    assert await Records(state).train("t") == over
    with pytest.raises(StateConflict):
        await records.move_train(over, TRAIN)


async def test_two_trains_of_one_moment_are_not_mixed_up() -> None:
    records = Records(FakeState())
    await records.begin_train(TRAIN)

    with pytest.raises(StateConflict):
        await records.begin_train(replace(TRAIN, actor="bob"))

    assert await records.train("t") == TRAIN
