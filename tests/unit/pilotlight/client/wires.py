"""What can happen to a connection: between a client and a real sidecar, or instead of it."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

Handle = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
_AT_ONCE = 2**16


@asynccontextmanager
async def listening(handle: Handle) -> AsyncIterator[str]:
    """The URL of a server; its connections end with it."""
    connections = set[asyncio.StreamWriter]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.add(writer)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await handle(reader, writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for each in connections:
            each.transport.abort()


@asynccontextmanager
async def saying(answer: str) -> AsyncIterator[str]:
    """The URL of a server that answers everything so; nothing is no answer at all."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if not answer:
            await reader.read()
        writer.write(answer.encode())
        await writer.drain()

    async with listening(handle) as url:
        yield url


@dataclass(slots=True)
class Wire:
    """It breaks `breaks` times, each when an answer is on its way, and whenever it is `cut`.

    `requests` has the lines of those that came through, `headers` their headers.
    """

    to: str
    url: str = ""
    breaks: int = 0
    broken: int = 0
    requests: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    _near: set[asyncio.StreamWriter] = field(default_factory=set)

    def cut(self) -> None:
        for writer in self._near:
            writer.transport.abort()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._near.add(writer)
        host, port = self.to.removeprefix("http://").split(":")
        far_reader, far_writer = await asyncio.open_connection(host, port)
        there = asyncio.create_task(self._there(reader, far_writer))
        try:
            await self._back(far_reader, writer)
        finally:
            there.cancel()
            far_writer.close()

    async def _there(self, reader: asyncio.StreamReader, far: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(_AT_ONCE):
                self._note(data.decode("latin-1"))
                far.write(data)
                await far.drain()
        far.close()

    def _note(self, data: str) -> None:
        line, *fields = data.partition("\r\n\r\n")[0].splitlines()
        if re.match(r"[A-Z]+ /", line):
            self.requests.append(line.removesuffix(" HTTP/1.1"))
            parts = (each.partition(": ") for each in fields)
            self.headers.append({name.lower(): value for name, _, value in parts})

    async def _back(self, far: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await far.read(_AT_ONCE):
            if self.broken < self.breaks:
                self.broken += 1
                return
            writer.write(data)
            await writer.drain()


@asynccontextmanager
async def wire_to(url: str, *, breaks: int = 0) -> AsyncIterator[Wire]:
    """Between a client and the sidecar at an URL."""
    wire = Wire(url, breaks=breaks)
    async with listening(wire.handle) as own:
        wire.url = own
        yield wire
