"""The whole sidecar at a glance."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.text import Text

from pilotlight.views import Body
from pilotlight.views.devices import memory_bars
from pilotlight.views.health import readiness_line
from pilotlight.views.models import control_line, model_table, pending_line
from pilotlight.views.traffic import gateway_line
from sidecar.core.fleet import Mode

TABLE_LINES = 3
"""Heading and counts of the table of models, and the line where a live view leaves the cursor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Bodies of `/v1/models`, `/v1/devices`, `/v1/control` and `/readyz` of one time.

    `gateway` is that of `/v1/gateway`.
    """

    models: Sequence[Body]
    devices: Body
    control: Body
    readiness: Body
    gateway: Body | None
    now: datetime

    def bodies(self) -> dict[str, Any]:
        """All of them, by the last part of their paths."""
        return {
            "models": self.models,
            "devices": self.devices,
            "control": self.control,
            "readiness": self.readiness,
            "gateway": self.gateway,
        }

    def view(self, *, limit: int | None) -> RenderableType:
        """Models first, so that what is amiss is the last thing on the screen."""
        table = model_table(self.models, limit=limit, now=self.now)
        return Group(table, *self._rest())

    def fitted(self, console: Console, *, limit: int | None) -> RenderableType:
        """As many models as there are lines for."""
        rest = len(console.render_lines(Group(*self._rest()), pad=False))
        room = max(1, console.height - rest - TABLE_LINES)
        return self.view(limit=room if limit is None else min(limit, room))

    def _rest(self) -> Iterator[RenderableType]:
        if self.devices["devices"]:
            yield memory_bars(self.devices["devices"])
        for advice in self.devices["advice"]:
            yield Text.assemble(("advice", "yellow"), f": {advice}")
        if self.gateway is not None:
            yield gateway_line(self.gateway)
        if line := pending_line(self.models):
            yield Text(line)
        if self.control["mode"] != Mode.RUNNING:
            yield Text(control_line(self.control), "yellow")
        yield readiness_line(self.readiness)
