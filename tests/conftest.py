"""What all tests share."""

from pathlib import Path

import pytest

pytest_plugins = ["tests.again", "tests.fixtures.embedded", "tests.fixtures.example"]

_TESTS = Path(__file__).parent
_ROUNDS = {"docs": 0, "unit": 2, "properties": 2, "scenarios": 2, "golden": 2}
"""The longest file is in the first, what is quick in the last, all else between."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is dear comes first, after pytest-randomly has shuffled: two workers end together."""
    items.sort(key=lambda item: _ROUNDS.get(item.path.relative_to(_TESTS).parts[0], 1))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--regenerate-scenarios",
        action="store_true",
        help="write what happens into tests/scenarios/*.txt, to be reviewed as a diff",
    )
