"""Secrets that come late or change, and places that are taken for a while."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from sidecar.activator.serve import Activator
from sidecar.adapters.secret_file import SecretFile
from sidecar.api.auth import Caller, Callers
from sidecar.compose import _alone, gateway, keys
from sidecar.compose.keys import Keys
from sidecar.errors import InvalidSettings, StateUnavailable, Unauthenticated
from sidecar.runtime.board import Board
from sidecar.settings import Role, Settings
from tests.eventually import eventually
from tests.unit.sidecar.activated import ANY_PORT, HandHold, NoSamples

SOON_S = 0.02


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "EVERY_S", SOON_S)
    monkeypatch.setattr(gateway, "LISTEN_AGAIN_S", SOON_S)


def test_a_secret_is_what_its_file_says_now_and_what_it_said_last_when_it_is_gone(
    tmp_path: Path,
) -> None:
    path = tmp_path / "key"
    secret = SecretFile(path)
    with pytest.raises(InvalidSettings, match="key cannot be read: No such file or directory"):
        secret.read()

    path.write_text("one")
    assert (secret.read(), secret.problem) == ("one", None)
    path.write_text("two\n")
    assert (secret.read(), secret.problem) == ("two", None)
    path.write_text("")
    assert secret.read() == "two"
    assert secret.problem == f"secret file {path} is empty; write the secret into it"


def settings(tmp_path: Path, *names: str) -> Settings:
    """With an operator's token for each name, in a file of that name."""
    return Settings.model_validate(
        {
            "store": tmp_path / "store",
            "state": tmp_path / "state.sqlite",
            "servers": {
                "serving": {
                    "grpc": "127.0.0.1:1",
                    "stage": tmp_path / "stage",
                    "admin_key_file": tmp_path / "admin.key",
                }
            },
            "api": {
                "tokens": [
                    {"name": name, "role": "operator", "file": tmp_path / name} for name in names
                ]
            },
        }
    )


class Door:
    def __init__(self, callers: Callers) -> None:
        self.callers = callers

    def opens_for(self, token: str) -> str | None:
        """Whom it takes for the owner of the token."""
        headers = {"authorization": f"Bearer {token}", "host": "localhost"}
        request = SimpleNamespace(method="GET", headers=headers)
        try:
            return self.callers.admit(request).name  # type: ignore[arg-type]
        except Unauthenticated:
            return None


@asynccontextmanager
async def watched(found: Keys, board: Board) -> AsyncIterator[Door]:
    door = Door(found.callers())
    watching = asyncio.create_task(found.watch(door, board))
    try:
        yield door
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def until(board: Board, troubles: set[str]) -> None:
    async def holds() -> bool:
        return board.troubles.keys() == troubles

    await eventually(holds, f"the troubles are {troubles}")


async def test_a_token_whose_file_is_missing_opens_nothing_until_the_file_is_there(
    tmp_path: Path,
) -> None:
    board = Board()
    found = Keys(settings(tmp_path, "ann"))
    async with watched(found, board) as door:
        await until(board, {"token ann"})
        assert "ann cannot be read: No such file" in board.troubles["token ann"]
        assert door.opens_for("secret") is None
        assert door.opens_for("") is None

        (tmp_path / "ann").write_text("secret\n")
        await until(board, set())
        assert door.opens_for("secret") == "ann"


async def test_a_token_that_changes_is_read_again(tmp_path: Path) -> None:
    (tmp_path / "ann").write_text("old")
    async with watched(Keys(settings(tmp_path, "ann")), Board()) as door:
        assert door.opens_for("old") == "ann"
        (tmp_path / "ann").write_text("new")

        async def is_new() -> bool:
            return door.opens_for("new") == "ann"

        await eventually(is_new, "the new one opens")
        assert door.opens_for("old") is None


async def test_a_token_that_becomes_anothers_too_is_told_and_those_before_count(
    tmp_path: Path,
) -> None:
    board = Board()
    for name in ("ann", "bob"):
        (tmp_path / name).write_text(f"of {name}")
    async with watched(Keys(settings(tmp_path, "ann", "bob")), board) as door:
        (tmp_path / "bob").write_text("of ann")
        await until(board, {"tokens"})
        assert "two have the same token" in board.troubles["tokens"]
        assert (door.opens_for("of ann"), door.opens_for("of bob")) == ("ann", "bob")


async def test_an_admin_key_that_is_taken_away_is_told(tmp_path: Path) -> None:
    board = Board()
    (tmp_path / "admin.key").write_text("key")
    found = Keys(settings(tmp_path))
    key = found.servers[next(iter(found.servers))]
    assert key is not None
    async with watched(found, board):
        assert key.read() == "key"
        (tmp_path / "admin.key").unlink()
        assert key.read() == "key"
        await until(board, {"key serving"})


async def test_a_bug_does_not_end_the_watch_and_is_told(tmp_path: Path) -> None:
    class Stuck(Door):
        """While it `is_stuck`, new callers cannot be set."""

        is_stuck = False

        def __setattr__(self, name: str, value: object) -> None:
            if self.is_stuck and name == "callers":
                raise ZeroDivisionError("in the door")
            super().__setattr__(name, value)

    (tmp_path / "admin.key").write_text("key")
    board, found = Board(), Keys(settings(tmp_path))
    door = Stuck(found.callers())
    door.is_stuck = True
    watching = asyncio.create_task(found.watch(door, board))
    await until(board, {"secrets"})
    assert board.troubles["secrets"].startswith("bug: ZeroDivisionError: in the door; ")
    door.is_stuck = False
    await until(board, set())
    watching.cancel()


def test_without_tokens_in_the_settings_everybody_acts(tmp_path: Path) -> None:
    door = Door(Keys(settings(tmp_path)).callers())

    assert door.opens_for("anything") == Caller(name="api", role=Role.OPERATOR).name


@pytest.mark.parametrize("protocol", ["http", "grpc"])
async def test_an_activator_whose_port_is_taken_says_so_and_listens_when_it_is_free(
    protocol: str,
) -> None:
    world = SimpleNamespace(board=Board())
    with socket.create_server(ANY_PORT) as taken:
        ports = {"http": ANY_PORT, "grpc": ANY_PORT, protocol: taken.getsockname()}
        activator = Activator(HandHold(), NoSamples(), **ports)  # type: ignore[arg-type]
        listening = asyncio.create_task(gateway._listen(activator, world))  # type: ignore[arg-type]
        await until(world.board, {"activator"})
        said = world.board.troubles["activator"]
        assert said.startswith(f"the activator cannot listen on 127.0.0.1:{ports[protocol][1]}: ")
        assert f"stop what listens there, or choose another gateway.activator.{protocol}" in said

    await listening
    assert world.board.troubles == {}
    for host, port in (activator.http, activator.grpc):
        _, writer = await asyncio.open_connection(host, port)
        writer.close()
    await activator.__aexit__(None, None, None)


def test_a_folder_of_the_state_that_cannot_be_written_is_told_with_what_to_do(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").write_text("")

    with (
        pytest.raises(StateUnavailable, match="the folder of the state file, cannot be written: "),
        _alone(tmp_path / "file" / "state.sqlite"),
    ):
        pass
