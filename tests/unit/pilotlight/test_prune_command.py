"""`pilotlight prune` against a sidecar on fake servers."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import structlog
import yaml
from typer.testing import CliRunner

from contract.layout import Store
from pilotlight.admin import Admin
from pilotlight.cli import app
from pilotlight.commands.output import ExitCode
from tests.builders import publish
from tests.unit.generator.entries import raw
from tests.unit.sidecar.client import app_of
from tests.unit.sidecar.rig import Rig
from tests.unit.sidecar.test_api_served import Served, serving


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    """`m` serves version 1 of four, because nobody released another; `c` was never loaded."""
    rig = Rig(tmp_path)
    publish(rig.store, "m", 1, tier="hot")
    publish(rig.store, "c", 1)
    async with serving(rig, app_of) as served:
        await rig.at_rest()
        for name in ("m", "c"):
            for version in (1, 2, 3, 4):
                if version not in rig.store.versions(name):
                    publish(rig.store, name, version)
        await rig.until(lambda: knows(rig, "m", 4) and knows(rig, "c", 4), "seen")
        yield served


def knows(rig: Rig, model: str, version: int) -> bool:
    snapshot = rig.sidecar.loop.snapshot
    return snapshot is not None and version in snapshot.models[model].versions


def recipe(folder: Path, *models: dict[str, object], keep: int = 2) -> Path:
    path = folder / "models.yaml"
    said = {"triton": "24.10", "target": "cpu", "keep": keep, "models": list(models)}
    path.write_text(yaml.safe_dump(said))
    return path


async def prune(served: Served, path: Path, *arguments: str) -> tuple[int, str]:
    command = ["prune", str(path), "--store", str(served.rig.store.root), *arguments]
    # The sidecar of these tests logs to the same place.
    with structlog.testing.capture_logs():
        done = await asyncio.to_thread(CliRunner().invoke, app, command, catch_exceptions=False)
    return done.exit_code, done.output


async def test_what_the_sidecar_serves_stays_however_old(served: Served, tmp_path: Path) -> None:
    path = recipe(tmp_path, raw(name="m"), raw(name="c", keep=1))

    code, said = await prune(served, path, "--json", "--url", served.url)

    assert code == 0
    assert json.loads(said)["models"] == [
        {"model": "m", "removed": [2], "in_use": [1]},
        {"model": "c", "removed": [1, 2, 3], "in_use": []},
    ]
    assert served.rig.store.versions("m") == (1, 3, 4)
    assert served.rig.store.versions("c") == (4,)


async def test_a_version_that_the_recipe_names_stays(served: Served, tmp_path: Path) -> None:
    path = recipe(tmp_path, raw(name="m", version=2), raw(name="m", version=4))

    await prune(served, path, "--url", served.url)

    assert served.rig.store.versions("m") == (1, 2, 3, 4)


async def test_models_that_the_sidecar_does_not_know_are_left_alone(
    served: Served, tmp_path: Path
) -> None:
    elsewhere = Store(tmp_path / "elsewhere")
    for version in (1, 2, 3):
        publish(elsewhere, "other", version)
    path = recipe(tmp_path, raw(name="other"), keep=1)
    told = ["--store", str(elsewhere.root), "--url", served.url]

    code, said = await prune(served, path, *told)

    assert (code, said.strip().endswith("0 versions removed")) == (0, True)
    assert elsewhere.versions("other") == (1, 2, 3)


async def test_without_an_answer_nothing_is_removed(served: Served, tmp_path: Path) -> None:
    path = recipe(tmp_path, raw(name="c"), keep=1)

    code, said = await prune(served, path, "--url", "http://127.0.0.1:9")

    assert (code, "http://127.0.0.1:9" in said) == (ExitCode.UNREACHABLE, True)
    assert "where nobody serves the store, add --unserved" in said
    assert served.rig.store.versions("c") == (1, 2, 3, 4)


async def test_a_store_that_nobody_serves_is_pruned_without_asking(
    served: Served, tmp_path: Path
) -> None:
    path = recipe(tmp_path, raw(name="m"), keep=1)

    code, said = await prune(served, path, "--unserved", "--url", "http://127.0.0.1:9")

    assert (code, said.splitlines()[0]) == (0, "m: removed 1, 2, 3")
    assert served.rig.store.versions("m") == (4,)


async def test_the_version_of_a_release_under_way_stays(served: Served, tmp_path: Path) -> None:
    """Paused, it stands still before anything of it is loaded."""
    with Admin(served.url) as admin:
        await asyncio.to_thread(admin.ask, "/v1:pause")
        await asyncio.to_thread(admin.ask, "/v1/models/m/releases", {"version": 2})
    path = recipe(tmp_path, raw(name="m"), keep=1)

    await prune(served, path, "--url", served.url)

    assert served.rig.store.versions("m") == (1, 2, 4)
