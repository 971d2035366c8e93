"""What a sidecar tells in the middle of a release, behind a gateway."""

from pathlib import Path

import httpx2
import pytest

from tests.unit.sidecar.rig import Rig
from tests.unit.sidecar.test_api_traffic import ANSWERED, ask, gateway_of, releasing


@pytest.fixture(scope="session")
def exposition(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page that Prometheus gets; `m` is being released, `c` is cold."""
    pages = []

    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        gateway_of(rig).counted = {"m": ANSWERED}
        await client.post("/v1/models/c:ensure")
        async with releasing(rig):
            pages.append((await client.get("/metrics")).text)

    ask(_folder(tmp_path_factory), story)
    return str(pages[0])


def _folder(factory: pytest.TempPathFactory) -> Path:
    return factory.mktemp("rig")
