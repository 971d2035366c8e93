"""What a model holds on a server, as far as that can be told apart from what others hold."""

from collections.abc import Mapping
from dataclasses import dataclass

from sidecar.core.cost import footprint
from sidecar.core.fleet import Server
from sidecar.core.memory import CPU, Device, Reading
from sidecar.errors import MeterFailed, Unproven
from sidecar.ports import MemoryMeter
from sidecar.runtime.board import Pair
from sidecar.runtime.world import World


@dataclass(frozen=True, slots=True)
class Weight:
    """Bytes of the model's own processes, when nobody `shares` them.

    Else they are of the whole server, or of the whole device where not even that is told, on
    which the model is with all that shares them: no more than an upper bound. Two weights can be
    compared when they are shared alike.
    """

    held_bytes: int
    shares: frozenset[Pair] = frozenset()


class Scales:
    def __init__(self, world: World, canary: MemoryMeter) -> None:
        self._world = world
        self._meters = {Server.SERVING: world.meter, Server.CANARY: canary}

    async def weigh(self, server: Server, model: str) -> Mapping[Device, Weight]:
        """Devices on which it cannot be told are absent: one with another model on this server."""
        try:
            readings = await self._meters[server].read()
        except MeterFailed:
            return {}
        present = self._present()
        is_alone = all(other == model for at, other in present if at is server)
        found = {}
        for device, reading in readings.items():
            if model in reading.by_model:
                found[device] = Weight(reading.by_model[model])
            elif is_alone and (held_bytes := _shared_bytes(device, reading)) is not None:
                found[device] = Weight(held_bytes, present)
        return found

    async def declared(self, server: Server, model: str, version: int) -> Mapping[Device, int]:
        """What the manifest says of the version.

        Raises:
            Unproven: the version is not in the store any more.
        """
        models, _ = await self._world.store.known()
        stored = models[model].versions.get(version) if model in models else None
        if stored is None:
            raise Unproven(f"{model} version {version} is not in the store any more")
        try:
            devices = await self._meters[server].read()
        except MeterFailed:
            devices = {}
        gpus = tuple(sorted(devices.keys() - {CPU}))
        return footprint(stored, None, gpus)[0]

    def _present(self) -> frozenset[Pair]:
        board = self._world.board
        held = {(server, model) for server in Server for model in board.verified(server)}
        return frozenset(held | board.busy)


def _shared_bytes(device: Device, reading: Reading) -> int | None:
    """Of the whole server; a machine's memory has too many users to be blamed on one model."""
    if reading.server_bytes is not None or device == CPU:
        return reading.server_bytes
    return reading.used_bytes
