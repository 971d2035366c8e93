"""The process of a fake server."""

from sidecar.errors import ServerLost
from tests.fakes.triton import FakeTriton


class FakeProcess:
    """A `ports.ServerProcess`; without a server there is none to end."""

    def __init__(self, server: FakeTriton | None = None) -> None:
        self._server = server

    async def end(self) -> None:
        if self._server is None:
            raise ServerLost("there is no server")
        self._server.kill()
