"""The process of a Triton on this machine, to be ended in an orderly way."""

import asyncio

import psutil

from sidecar.adapters.process_meter import listener
from sidecar.errors import MeterFailed, ServerLost


class ServerProcess:
    """A `ports.ServerProcess`."""

    def __init__(self, grpc: str) -> None:
        self._grpc = grpc

    async def end(self) -> None:
        await asyncio.to_thread(self._end)

    def _end(self) -> None:
        try:
            listener(self._grpc).terminate()
        except (MeterFailed, psutil.Error, OSError) as error:
            raise ServerLost(f"the server at {self._grpc} cannot be ended: {error}") from error
