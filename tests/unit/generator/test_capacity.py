"""Memory shared between exports."""

import os
import threading

import pytest

from generator.capacity import Room, needed_bytes, usable_bytes, usable_cores


def test_a_machine_has_a_core_and_some_memory() -> None:
    total_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")

    assert 1 <= usable_cores() <= (os.cpu_count() or 1)
    assert 0 < usable_bytes() < total_bytes


def test_more_weights_need_more_memory() -> None:
    assert 0 < needed_bytes(0) < needed_bytes(1 << 30)
    assert needed_bytes(1 << 30) > 1 << 30


def test_as_many_at_once_as_there_is_room_for() -> None:
    room, arrived = Room(100), threading.Barrier(2)

    def take() -> None:
        with room.taken(50):
            # Both are inside, or this breaks.
            arrived.wait(timeout=30)

    threads = [threading.Thread(target=take) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not arrived.broken


@pytest.mark.parametrize(("first", "second"), [(60, 60), (500, 1), (1, 500)])
def test_who_finds_no_room_waits(first: int, second: int) -> None:
    room, order = Room(100), list[str]()

    def take() -> None:
        with room.taken(second):
            order.append("second")

    with room.taken(first):
        waiting = threading.Thread(target=take)
        waiting.start()
        waiting.join(timeout=0.2)
        order.append("first")
    waiting.join()

    assert order == ["first", "second"]


def test_what_is_too_large_for_the_machine_is_tried_alone() -> None:
    with Room(100).taken(1000):
        pass
