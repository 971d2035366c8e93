"""`pilotlight costs` as people use it."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from contract.layout import Store
from contract.manifest import ShapeCost, WarmupPlan
from pilotlight.cli import app
from pilotlight.traces import read_models
from sidecar.core.replay import ReplayedModel
from tests.builders import manifest

MIB = 2**20
SHAPE = ShapeCost(batch=8, dims={}, first_ms=20.0, steady_ms=10.0, runs_until_steady=3)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Model `a` is measured as today, with two instances; `b` as by an older Pilotlight."""
    write(
        tmp_path,
        "a",
        3,
        count=2,
        warmup=WarmupPlan(budget_s=1.0, seconds=0.5, dropped=(SHAPE,)),
        disk_bytes=8 * MIB,
        private_bytes=2 * MIB,
        further_private_bytes=MIB,
        shared_bytes=6 * MIB,
        peak_bytes=4 * MIB,
        load_s=0.5,
        load_cold_s=2.0,
        shapes=(SHAPE,),
    )
    write(tmp_path, "b", 1, disk_bytes=MIB)
    return tmp_path


def write(
    root: Path, model: str, version: int, *, count: int = 1, warmup: Any = None, **cost: Any
) -> None:
    folder = Store(root).version(model, version)
    folder.path.mkdir(parents=True)
    groups = f"instance_group {{ kind: KIND_CPU count: {count} }}" if count else ""
    folder.config.write_text(f'name: "{model}" {groups}')
    plain = manifest(model, version)
    measured = plain.model_copy(update={"cost": replace(plain.cost, **cost), "warmup": warmup})
    folder.manifest.write_text(measured.model_dump_json(exclude_none=True))


def told(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["costs", *arguments])


def test_each_model_is_a_row(store: Path) -> None:
    done = told(str(store))

    a, b = (line.split() for line in done.stdout.splitlines()[1:3])
    assert " ".join(a) == (
        "a 3 x2 8.0 MiB 2.0 MiB 1.0 MiB 6.0 MiB 4.0 MiB 2.000 s 0.500 s 20 ms 10 ms 3 0.500 s"
    )
    assert " ".join(b) == "b 1 1.0 MiB 1.0 MiB - 0 B 1.0 MiB - 0.100 s - - - -"
    assert "a: shapes that its warm-up leaves out for warmup_budget_s: 1: 1; " in done.stdout


def test_a_narrow_terminal_shows_memory_above_time(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pilotlight.commands.output.UNLIMITED_WIDTH", 80)
    lines = [" ".join(line.split()) for line in told(str(store)).stdout.splitlines()]

    assert lines[:7] == [
        "model disk private +1 shared peak",
        "a 3 x2 8.0 MiB 2.0 MiB 1.0 MiB 6.0 MiB 4.0 MiB",
        "b 1 1.0 MiB 1.0 MiB - 0 B 1.0 MiB",
        "",
        "model cold load load first steady runs warm-up",
        "a 3 x2 2.000 s 0.500 s 20 ms 10 ms 3 0.500 s",
        "b 1 - 0.100 s - - - -",
    ]


def test_an_ensemble_is_no_instance_and_takes_no_time(tmp_path: Path) -> None:
    write(tmp_path, "a", 1, load_s=0.5, load_cold_s=2.0)
    nothing = {"private_bytes": 0, "peak_bytes": 0, "load_s": 0.0, "load_cold_s": 0.0}
    write(tmp_path, "chain", 1, count=0, **nothing)
    done = told(str(tmp_path))

    assert "2 models, 1 instance: " in done.stdout
    assert "0.500 s to load one after the other (2.000 s from a cold disk)" in done.stdout


def test_the_loads_of_all_instances_add_up(store: Path) -> None:
    body = json.loads(told(str(store), "--json").stdout)

    assert body["total"] == {
        "models": 2,
        "instances": 3,
        "disk_bytes": 9 * MIB,
        "held_bytes": (6 + 2 * 4 + 1) * MIB,
        "serial_load_s": 2 * 0.5 + 0.1,
        "serial_load_cold_s": None,
    }
    assert [each["serial_load_cold_s"] for each in body["models"]] == [2.0 + 0.5, None]


def test_only_the_newest_version_counts(store: Path) -> None:
    write(store, "b", 2, disk_bytes=5 * MIB)

    assert json.loads(told(str(store), "--json").stdout)["total"]["disk_bytes"] == 13 * MIB


def test_costs_are_drawn(store: Path) -> None:
    done = told(str(store), "--plot", str(store / "costs.png"))

    assert done.exit_code == 0, done.output
    assert f"{store / 'costs.png'} is drawn" in done.stdout
    assert (store / "costs.png").read_bytes().startswith(b"\x89PNG")


def test_without_the_library_the_table_is_printed_and_the_extra_is_named(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    done = told(str(store), "--plot", str(store / "costs.png"))

    assert done.exit_code == 1
    assert "a 3 x2" in done.stdout
    assert "pip install 'pilotlight[charts]'" in done.output


def test_a_folder_without_models_is_told(tmp_path: Path) -> None:
    done = told(str(tmp_path))

    assert done.exit_code == 1
    assert f"{tmp_path} has no model that Pilotlight built" in " ".join(done.output.split())


def test_a_damaged_manifest_is_named(store: Path) -> None:
    Store(store).version("b", 1).manifest.write_text("{")

    done = told(str(store))

    assert done.exit_code == 1
    assert "b/1/manifest.json cannot be read" in done.output


def test_costs_are_written_as_replay_reads_them(store: Path, tmp_path: Path) -> None:
    file = tmp_path / "models.csv"

    assert "models.csv is written" in told(str(store), "--csv", str(file)).stdout

    models = read_models(file)
    assert models["a"] == ReplayedModel(held_bytes=(6 + 2 * 4) * MIB, load_s=2.0 + 0.5 + 0.5)
    assert models["b"] == ReplayedModel(held_bytes=MIB, load_s=0.1)
