"""What a build shows of its models while it runs."""

import io
from collections.abc import Callable

import pytest
from rich.console import Console

from generator.events import BuildEvent, Stage
from pilotlight.commands.building import shown

EVENTS = (
    BuildEvent("unchanged", None, Stage.UNCHANGED, 0.0),
    BuildEvent("first", None, Stage.EXPORT, 0.1),
    BuildEvent("second", 2, Stage.EXPORT, 0.2),
    BuildEvent("first", None, Stage.BUILT, 3.0),
    BuildEvent("second", 2, Stage.FAILED, 4.0),
)
FIRST = ["first          export        0.1 s", "first          built         3.0 s"]
SECOND = ["second 2       export        0.2 s", "second 2       failed        4.0 s"]


def work(report: Callable[[BuildEvent], None]) -> str:
    for event in EVENTS:
        report(event)
    return "done"


def told(*, is_terminal: bool) -> str:
    console = Console(file=io.StringIO(), width=80, force_terminal=is_terminal, color_system=None)
    with console.capture() as captured:
        assert shown(console, work) == "done"
    return captured.get()


def test_a_pipe_gets_each_stage_of_what_is_not_unchanged() -> None:
    lines = [FIRST[0], SECOND[0], FIRST[1], SECOND[1]]

    assert told(is_terminal=False).splitlines() == lines


@pytest.mark.parametrize("line", [FIRST[1], SECOND[1]])
def test_a_terminal_keeps_how_each_model_ended(line: str) -> None:
    """Other lines are followed by what erases them."""
    assert f"{line}\n" in told(is_terminal=True)
