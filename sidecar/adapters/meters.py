"""Several meters as one."""

import asyncio

from sidecar.core.memory import Device, Reading
from sidecar.ports import MemoryMeter


class CombinedMeter:
    """A `ports.MemoryMeter`; of a device that several measure, the last one's word counts.

    Fails as soon as one of them does: with its devices absent, a plan would take a server's
    GPUs for gone.
    """

    def __init__(self, *meters: MemoryMeter) -> None:
        self._meters = meters

    async def read(self) -> dict[Device, Reading]:
        found = await asyncio.gather(*(meter.read() for meter in self._meters))
        return {device: reading for readings in found for device, reading in readings.items()}
