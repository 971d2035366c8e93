"""A sidecar on fake servers behind a real port, as the commands meet it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fakes.gateway import FakeGateway
from tests.unit.sidecar.rig import Rig
from tests.unit.sidecar.test_api_served import Served, served, serving
from tests.unit.sidecar.test_api_traffic import app_of

__all__ = ["served"]


@pytest.fixture
async def served_at_gateway(tmp_path: Path) -> AsyncIterator[Served]:
    rig = Rig(tmp_path)
    rig.gateway = FakeGateway()
    async with serving(rig, app_of) as served:
        yield served
