"""What a build shows of its models while it runs."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from generator.events import BuildEvent, Built, Stage
from pilotlight.commands.building import next_steps, shown
from tests.builders import publish_many

EVENTS = (
    BuildEvent("unchanged", None, Stage.UNCHANGED, 0.0),
    BuildEvent("first", None, Stage.EXPORT, 0.1),
    BuildEvent("second", 2, Stage.EXPORT, 0.2),
    BuildEvent("first", None, Stage.BUILT, 3.0),
    BuildEvent("second", 2, Stage.FAILED, 4.0),
)
FIRST = "first          built         3.0 s  2/4"
SECOND = "second 2       failed        4.0 s  3/4"
NO_RELEASE = (
    "a first version needs no release; it is loaded at its first request, or at once where it is "
    "hot"
)


def work(report: Callable[[BuildEvent], None]) -> str:
    for event in EVENTS:
        report(event)
    return "done"


def told(*, is_terminal: bool) -> str:
    console = Console(file=io.StringIO(), width=80, force_terminal=is_terminal, color_system=None)
    with console.capture() as captured:
        assert shown(console, work, entries=4) == "done"
    return captured.get()


def test_a_pipe_gets_how_each_model_ended_that_is_not_unchanged() -> None:
    assert told(is_terminal=False).splitlines() == [FIRST, SECOND]


@pytest.mark.parametrize("line", [FIRST, SECOND])
def test_a_terminal_keeps_how_each_model_ended(line: str) -> None:
    """Other lines are followed by what erases them."""
    assert f"{line}\n" in told(is_terminal=True)


@pytest.mark.parametrize(
    ("built", "lines"),
    [
        ({}, []),
        ({"new": [1]}, [f"new 1: {NO_RELEASE}"]),
        ({"adopted": [3, 4]}, [f"adopted 4: {NO_RELEASE}"]),
        ({"old_a": [3]}, ["old_a 3 is new: pilotlight release old_a 3"]),
        (
            {"new": [1], "old_a": [3], "old_b": [3], "old_c": [3], "old_d": [3]},
            [
                f"new 1: {NO_RELEASE}",
                "4 models have new versions (old_a 3, old_b 3, old_c 3 and 1 more): "
                "pilotlight release --all-pending",
            ],
        ),
    ],
)
def test_a_build_ends_with_what_becomes_of_its_new_versions(
    tmp_path: Path, built: dict[str, list[int]], lines: list[str]
) -> None:
    older = {f"old_{letter}": [1, 2] for letter in "abcd"}
    there = {model: older.get(model, []) + built.get(model, []) for model in {**older, **built}}
    store = publish_many(tmp_path, there)
    done = [Built(model, version, {}) for model in built for version in built[model]]

    assert list(next_steps(done, store)) == lines
