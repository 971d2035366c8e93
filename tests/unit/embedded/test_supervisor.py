from collections.abc import Callable
from pathlib import Path

import pytest

from embedded.process import Process, group_members, wait_until
from embedded.supervisor import Supervisor


def shell(name: str, script: str, folder: Path) -> Process:
    return Process(name=name, command=["sh", "-c", script], log=folder / f"{name}.log")


def changed(process: Process, pid: int) -> Callable[[], bool]:
    return lambda: process.is_running and process.pid != pid


def test_starts_in_order_and_stops_in_reverse(tmp_path: Path) -> None:
    events: list[str] = []
    first = shell("first", "sleep 1000", tmp_path)
    second = shell("second", "sleep 1000", tmp_path)

    with Supervisor([first, second], events.append):
        assert first.is_running
        assert second.is_running

    assert events == ["first started", "second started", "second stopped", "first stopped"]
    assert group_members(first.pid) == group_members(second.pid) == []


def test_a_killed_process_comes_back_and_the_others_stay(tmp_path: Path) -> None:
    events: list[str] = []
    victim = shell("victim", "sleep 1000", tmp_path)
    other = shell("other", "sleep 1000", tmp_path)

    with Supervisor([victim, other], events.append):
        pid, other_pid = victim.pid, other.pid
        victim.kill()
        assert wait_until(changed(victim, pid), timeout_s=30)
        assert wait_until(lambda: "victim started again" in events, timeout_s=30)
        assert other.pid == other_pid

    assert "starting it again in 0.2 s" in events[2]
    assert events[3] == "victim started again"


def test_pauses_double_while_a_process_ends_at_once(tmp_path: Path) -> None:
    events: list[str] = []

    with Supervisor([shell("crashing", "exit 1", tmp_path)], events.append):
        assert wait_until(lambda: any("in 0.8 s" in event for event in events), timeout_s=30)

    pauses = [event.split(" in ")[1] for event in events if " in " in event]
    assert pauses[:3] == ["0.2 s", "0.4 s", "0.8 s"]


def test_what_started_is_stopped_when_a_later_one_cannot_start(tmp_path: Path) -> None:
    good = shell("good", "sleep 1000", tmp_path)
    bad = Process(name="bad", command=["/no/such/command"], log=tmp_path / "bad.log")

    with pytest.raises(FileNotFoundError, match="/no/such/command"):
        Supervisor([good, bad], print).start()

    assert group_members(good.pid) == []


def test_a_restart_that_fails_is_reported_and_tried_again(tmp_path: Path) -> None:
    events: list[str] = []
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\nsleep 1000\n")
    program.chmod(0o755)
    process = Process(name="replaced", command=[str(program)], log=tmp_path / "log")

    with Supervisor([process], events.append):
        pid = process.pid
        away = program.rename(tmp_path / "away")
        process.kill()
        assert wait_until(lambda: any("could not be started" in e for e in events), timeout_s=30)
        away.rename(program)
        assert wait_until(changed(process, pid), timeout_s=30)
