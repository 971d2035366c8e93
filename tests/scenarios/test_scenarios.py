"""Readable stories of the planner; `--regenerate-scenarios` writes them anew for review."""

from pathlib import Path

import pytest

from tests.scenarios.transcript import replay

SCENARIOS = sorted(Path(__file__).parent.glob("*.txt"))


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_a_scenario_comes_out_as_it_is_written(path: Path, pytestconfig: pytest.Config) -> None:
    written = path.read_text()
    happened = replay(written)

    if pytestconfig.getoption("--regenerate-scenarios"):
        path.write_text(happened)
    else:
        assert happened == written


def test_there_are_scenarios() -> None:
    assert len(SCENARIOS) >= 6


def test_a_command_that_is_none_is_told() -> None:
    with pytest.raises(ValueError, match="no command: loda m"):
        replay("loda m")
