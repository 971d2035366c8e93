"""Commands that the pages tell and other tests run, and where those are."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """A file, and the words in it that run the command."""

    path: str
    words: str


PAGES = {"docs/howto/compose.md": "tests/compose"}
"""All commands of the page occur in this folder, as a shell's words or as arguments of a call."""

COMMANDS = {
    "make setup": Place("Makefile", "test: setup"),
    "make demo": Place("tests/e2e/test_command.py", 'pilotlight("demo")'),
    "make test": Place(".ci/run", "make test"),
    "make up": Place("tests/compose/conftest.py", '"make", "up"'),
}


def is_run_elsewhere(page: str, command: str = "") -> bool:
    return page in PAGES or command in COMMANDS
