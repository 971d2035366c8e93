"""How pages are read, and how what they show is compared with what is printed."""

import pytest

from tests.docs.pages import Block, Command, commands
from tests.docs.shell import Shell, not_shown


def block(text: str) -> Block:
    return Block(page="p", line=1, kind="console", argument="", caption=None, text=text)


def test_a_command_goes_on_until_its_quotes_are_closed() -> None:
    told = block(
        "$ curl -d '{\n  1}'\nHTTP/1.1 200\n$ ls  # exit code 2\n$ make up    # says more\n"
    )
    assert commands(told) == [
        Command(text="curl -d '{\n  1}'", shown=("HTTP/1.1 200",), exit_code=0),
        Command(text="ls", shown=(), exit_code=2),
        Command(text="make up", shown=(), exit_code=0),
    ]


@pytest.mark.parametrize(
    "printed",
    [
        "version 2 serves, after 11.1 s",
        "x\n   version  2 serves,  after 670 ms of 7\ny",
    ],
)
def test_space_and_figures_that_were_measured_may_differ(printed: str) -> None:
    assert not_shown(("version 2 serves, after 11.1 s",), printed) is None


@pytest.mark.parametrize(
    "printed", ["", "version 3 serves, after 11.1 s", "version 2 serves, after 11.1 MiB"]
)
def test_words_and_counts_may_not(printed: str) -> None:
    shown = "version 2 serves, after 11.1 s"
    assert not_shown((shown,), printed) == shown


def test_dots_stand_for_anything_within_a_line_and_lines_keep_their_order() -> None:
    assert not_shown(("a ... d", "e"), "a b c d\n0\ne") is None
    assert not_shown(("e", "a ... d"), "a b c d\n0\ne") == "a ... d"


def test_usual_ports_become_ours(tmp_path: object) -> None:
    shell = Shell(tmp_path, {"8000": "49001", "8201": "49002"})  # type: ignore[arg-type]
    assert shell.ported("localhost:8000 --grpc-port=8201 80000 x8000") == (
        "localhost:49001 --grpc-port=49002 80000 x8000"
    )
