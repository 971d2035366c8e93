"""A build as a whole: killed, short of memory, done twice, watched."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from contract.manifest import damaged_files, read_manifest
from embedded.process import wait_until
from generator.events import BuildEvent, Stage
from generator.publishing.lock import LOCK
from generator.reproducible import Differs, verify_reproducible
from tests.e2e import tiny
from tests.e2e.generator.adopted import adopted, write_at_once, write_table
from tests.e2e.tiny import Workshop

pytestmark = [pytest.mark.build, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[3]
WAIT_S = 120.0
TOO_LARGE = """
import os
import signal


def create():
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    workshop = Workshop.at(tmp_path)
    (workshop.folder / "large.py").write_text(TOO_LARGE)
    write_table(workshop.folder / "table.onnx")
    return workshop


def write_recipe(workshop: Workshop, *models: dict[str, Any]) -> Path:
    path = workshop.folder / "models.yaml"
    text = yaml.safe_dump({"triton": "24.10", "target": "cpu", "models": list(models)})
    write_at_once(path, text.encode())
    return path


@contextmanager
def building(workshop: Workshop, *options: str) -> Iterator[subprocess.Popen[str]]:
    """`pilotlight build --json` on a written recipe, with a folder of its own for scratch."""
    scratch = workshop.folder.parent / "scratch"
    scratch.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "pilotlight", "build", str(workshop.folder / "models.yaml")]
    with subprocess.Popen(
        [*command, "--store", str(workshop.store.root), "--json", *options],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(scratch)},
        stdout=subprocess.PIPE,
        text=True,
    ) as builder:
        try:
            yield builder
        finally:
            builder.kill()


def told(builder: subprocess.Popen[str]) -> Iterator[dict[str, Any]]:
    assert builder.stdout
    return map(json.loads, builder.stdout)


def workers(scratch: Path) -> list[Path]:
    """The processes that were told to work in a folder, their builder among them."""
    return [each for each in Path("/proc").glob("[0-9]*") if str(scratch) in environment(each)]


def environment(process: Path) -> str:
    """Empty where it has ended, or is somebody else's."""
    try:
        return (process / "environ").read_text(errors="replace")
    except OSError:
        return ""


def test_a_build_that_is_killed_at_any_stage_is_finished_by_the_next(workshop: Workshop) -> None:
    write_recipe(workshop, adopted(tier="hot"))
    scratch = workshop.folder.parent / "scratch"

    for stage in (Stage.EXPORT, Stage.PROBE, Stage.PUBLISH):
        with building(workshop) as builder:
            next(event for event in told(builder) if event["stage"] == stage)
            builder.send_signal(signal.SIGKILL)
        # One that imports PyTorch notices afterwards.
        assert wait_until(lambda: not workers(scratch), WAIT_S), "no worker outlives its builder"
        for version in workshop.store.versions("table"):
            files = workshop.version(version, "table")
            assert damaged_files(read_manifest(files.manifest), files.path) == []

    with building(workshop) as builder:
        *_, report = told(builder)
    assert report["failed"] == []
    assert workshop.store.versions("table") == (1,)
    assert {path.name for path in workshop.store.root.iterdir()} == {"table", LOCK}
    assert {path.name for path in workshop.store.model("table").iterdir()} == {
        *("1", "config.pbtxt", "pilotlight.json", "warmup")
    }
    assert list(scratch.glob("pilotlight-*")) == []


def test_a_model_for_which_memory_is_short_is_tried_again_alone(workshop: Workshop) -> None:
    greedy = tiny.entry(name="large") | {"source": "large:create"}
    impossible = adopted(batching={"preferred": [8]})

    report = workshop.build(greedy, impossible)

    reason, _ = (failure.reason for failure in report.failed)
    assert "was killed by SIGKILL, as the kernel does when memory runs out" in reason
    assert [event.stage for event in workshop.events if event.model == "large"] == [
        Stage.EXPORT,
        Stage.WAIT,
        Stage.EXPORT,
        Stage.FAILED,
    ]


def test_a_version_is_compared_with_a_second_build_elsewhere(workshop: Workshop) -> None:
    workshop.build(adopted())
    events: list[BuildEvent] = []

    def verify() -> tuple[Differs, ...]:
        recipe = workshop.folder / "models.yaml"
        return verify_reproducible(
            recipe, workshop.store.root, [("table", 1)], report=events.append
        )

    same = verify()
    write_table(workshop.folder / "table.onnx", scale=2.0)
    (differs,) = verify()

    assert same == ()
    assert (differs.model, differs.version) == ("table", 1)
    assert differs.reason.startswith("model.onnx comes out otherwise, ")
    assert [event.stage for event in events] == [
        *(Stage.EXPORT, Stage.VERIFY, Stage.REPRODUCED),
        *(Stage.EXPORT, Stage.VERIFY, Stage.DIFFERS),
    ]


def test_a_watched_recipe_is_built_again_whenever_a_file_changes(workshop: Workshop) -> None:
    write_recipe(workshop, adopted())
    table = workshop.folder / "table.onnx"
    with building(workshop, "--watch") as builder:
        rounds = (line for line in told(builder) if "built" in line or "changed" in line)
        assert [each["version"] for each in next(rounds)["built"]] == [1]

        write_at_once(table, b"not a graph")
        assert next(rounds) == {"changed": [str(table)]}
        assert "table.onnx" in next(rounds)["failed"][0]["reason"]

        write_table(table, scale=2.0)
        next(rounds)
        assert [each["version"] for each in next(rounds)["built"]] == [2]

        write_recipe(workshop, adopted(tier="hot"))
        next(rounds)
        assert next(rounds)["unchanged"] == [{"model": "table", "version": 2}]

        write_table(table)
        next(rounds)
        assert [each["version"] for each in next(rounds)["built"]] == [3], "also when changed back"
        builder.send_signal(signal.SIGINT)
        assert builder.wait(WAIT_S) == 130


_ON_A_READ_ONLY_DISK = """
import subprocess
import sys

subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", sys.argv[1]], check=True)
command = [sys.executable, "-m", "pilotlight", "build", "--json", "--store"]
sys.exit(subprocess.run([*command, sys.argv[1] + "/store", sys.argv[2]], check=False).returncode)
"""


def test_a_target_that_cannot_be_written_is_said_before_any_work(workshop: Workshop) -> None:
    recipe = write_recipe(workshop, adopted())
    disk = workshop.folder.parent / "disk"
    disk.mkdir()
    namespace = ["--mount"] if os.geteuid() == 0 else ["--user", "--map-root-user", "--mount"]

    done = subprocess.run(
        ["unshare", *namespace, sys.executable, "-c", _ON_A_READ_ONLY_DISK, disk, recipe],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout) == (1, "")
    said = json.loads(done.stderr)["error"]["message"]
    assert said.startswith(f"store {disk}/store cannot be written: Read-only file system; mount")
