"""What the sidecar does as a whole: who has set it, and how long it holds."""

import time

from sidecar.core.events import Event, EventName
from sidecar.core.fleet import Control, Mode
from sidecar.runtime.world import World


async def set_mode(world: World, mode: Mode, *, actor: str) -> Control:
    """Setting the mode that holds changes nothing."""
    before = await world.records.control()
    if before.mode is mode:
        return before
    control = Control(mode=mode, since_s=time.time(), actor=actor)
    await world.records.set_control(control)
    event = Event(name=EventName.MODE_CHANGED, detail={"mode": mode.value, "actor": actor})
    await world.telemetry.record(event)
    return control


async def end_drain(world: World) -> None:
    """Who drains leaves; what starts in its place, as a pod does again, is to serve."""
    if await world.records.mode() is Mode.DRAINING:
        await set_mode(world, Mode.RUNNING, actor="pilotlight")
