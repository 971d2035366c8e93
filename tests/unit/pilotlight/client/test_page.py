"""Every block of code on the page of the client runs, one after the other."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pilotlight.client import Client
from pilotlight.client.resource import Resource
from sidecar.runtime.records import Records
from tests.builders import publish
from tests.unit.sidecar.rig import Rig
from tests.unit.sidecar.test_api_served import Served, serving
from tests.unit.sidecar.test_api_traffic import app_of

PAGE = Path(__file__).parents[4] / "docs" / "client.md"
# That one needs a real Triton, and tests/docs runs it on one.
LAZY = "from tritonclient"


@pytest.fixture
async def example(tmp_path: Path) -> AsyncIterator[Served]:
    rig = Rig(tmp_path)
    # Beside that a busy machine adds little, and two versions are soon told to be as fast.
    rig.canary.infer_s = 0.02
    for number in (1, 2):
        publish(rig.store, "short_form", number, tier="hot")
    publish(rig.store, "long_form", 1)
    for name in ("short_form", "long_form"):
        await Records(rig.state).set_serving(name, 1)
    async with serving(rig, app_of) as served:
        await rig.ready()
        yield served


async def test_what_the_page_shows_runs(
    example: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    blocks = [block for block in shown if not block.startswith(LAZY)]
    assert len(blocks) == len(shown) - 1
    for block in blocks:
        code = compile(block.replace("http://127.0.0.1:8080", example.url), str(PAGE), "exec")
        await asyncio.to_thread(exec, code, {})

    said = capsys.readouterr().out
    assert "done" in said
    assert "somebody was quicker" in said
    assert "no model 'longform' in the store; did you mean 'long_form'?" in said


def test_the_page_names_each_method() -> None:
    told = PAGE.read_text()
    with Client() as client:
        things = {"": client} | {
            name: each for name, each in vars(client).items() if isinstance(each, Resource)
        }
        for thing, resource in things.items():
            for method in dir(type(resource)):
                if not method.startswith("_") and method != "close":
                    assert f"`{method}`" in told or f"`{thing}.{method}`" in told, thing
