"""What all tests share."""

import pytest

pytest_plugins = ["tests.fixtures.embedded", "tests.fixtures.example"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--regenerate-scenarios",
        action="store_true",
        help="write what happens into tests/scenarios/*.txt, to be reviewed as a diff",
    )
