"""Secrets in files, which may come late and change while the sidecar runs."""

import asyncio
import secrets
from collections.abc import Mapping
from functools import partial
from typing import Protocol

from sidecar.adapters.secret_file import SecretFile
from sidecar.api.auth import Caller, Callers
from sidecar.core.fleet import Server
from sidecar.errors import InvalidSettings
from sidecar.runtime.board import Board
from sidecar.runtime.endless import endlessly
from sidecar.settings import Settings

EVERY_S = 1.0


class Door(Protocol):
    """What lets callers in, such as a FastAPI application's state."""

    callers: Callers


class Keys:
    """Those of the settings: servers' admin keys by server, tokens of the API by caller."""

    def __init__(self, settings: Settings) -> None:
        self.servers: Mapping[Server, SecretFile | None] = {
            server: SecretFile(section.admin_key_file) if section.admin_key_file else None
            for server, section in settings.servers.items()
        }
        self._tokens = {
            Caller(name=token.name, role=token.role): SecretFile(token.file)
            for token in settings.api.all_tokens
        }

    def callers(self) -> Callers:
        """Who has a token now; nobody is a caller whose token is missing.

        Raises InvalidSettings when two callers have the same token.
        """
        return Callers({caller: _read(file) for caller, file in self._tokens.items()})

    async def watch(self, door: Door, board: Board) -> None:
        """Read all of them again and again, until cancelled."""
        await endlessly("secrets", partial(self._look, door, board), board, every_s=EVERY_S)

    async def _look(self, door: Door, board: Board) -> None:
        problem = None
        try:
            door.callers = await asyncio.to_thread(self.callers)
        except InvalidSettings as error:
            problem = str(error)
        board.trouble("tokens", problem)
        for caller, file in self._tokens.items():
            board.trouble(f"token {caller.name}", file.problem)
        for server, key in self.servers.items():
            board.trouble(f"key {server}", key.problem if key else None)


def _read(file: SecretFile) -> str:
    try:
        return file.read()
    except InvalidSettings:
        # Nobody knows this one.
        return secrets.token_urlsafe()
