"""The command line as people use it."""

import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import IO

import pytest

from embedded.process import wait_until
from embedded.provision import Installation
from pilotlight.demo.shelf import Shelf
from pilotlight.stack import Ports, Stack, StackDidNotStart
from tests.e2e.conftest import WITHIN_S, Running

ROOT = Path(__file__).resolve().parents[2]


def pilotlight(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pilotlight", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


@contextmanager
def on_terminal(out: Path, *arguments: str) -> Iterator[Path]:
    """A command on a terminal of 120 columns, what it shows in `out`; ctrl-C at the end."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (30, 120))
    command = [sys.executable, "-m", "pilotlight", *arguments]
    process = subprocess.Popen(
        command,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=ROOT,
        # Without it, COLUMNS of pytest's own readline would hold for the terminal.
        env=os.environ,
    )
    os.close(theirs)
    with out.open("wb", buffering=0) as file:
        copying = threading.Thread(target=copy, args=(ours, file))
        copying.start()
        try:
            yield out
        finally:
            process.send_signal(signal.SIGINT)
            code = process.wait(WITHIN_S)
            copying.join()
            os.close(ours)
    assert code == 0, out.read_text()


def text(out: Path) -> str:
    """What is shown so far; the last sign may be there by half."""
    return out.read_text(errors="replace")


def copy(terminal: int, file: IO[bytes]) -> None:
    """Until the last process has left the terminal, which then cannot be read any more."""
    with suppress(OSError):
        while shown := os.read(terminal, 65_536):
            file.write(shown)


@pytest.mark.triton
@pytest.mark.timeout(600)
def test_the_demo_proves_every_claim_and_leaves_nothing_running(example_store: Path) -> None:
    done = pilotlight("demo")
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(re.findall(r"│ yes │", done.stdout)) == 17
    assert "│ NO" not in done.stdout
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    home = str(ROOT / ".pilotlight" / "demo")
    assert [line for line in listed.stdout.splitlines() if home in line] == []


@pytest.mark.triton
@pytest.mark.timeout(300)
def test_up_serves_until_ctrl_c_and_stops_everything(shelf: Shelf, tmp_path: Path) -> None:
    out = tmp_path / "out.txt"
    home = tmp_path / "home"
    with out.open("w") as file:
        command = [sys.executable, "-m", "pilotlight", "up", "--ports", "free", "--soak", "1s"]
        up = subprocess.Popen(
            [*command, "--store", str(shelf.store.root), "--home", str(home)],
            stdout=file,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
        )
    try:
        assert wait_until(lambda: "ready: every hot model" in text(out), WITHIN_S), text(out)
        url = re.search(r"sidecar at (http://\S+);", out.read_text())
        assert url is not None
        status = pilotlight("status", "--url", url[1])
        assert status.returncode == 0
        assert re.search(r"short_form\s+hot\s+warmed\s+1\s", status.stdout)

        shelf.publish("short_form", 2)
        released = pilotlight("release", "short_form", "2", "--url", url[1])
        assert released.returncode == 0, released.stdout
        assert "golden samples within tolerance" in released.stdout
        refused = pilotlight("release", "short_form", "7", "--url", url[1])
        assert refused.returncode == 1
        assert "short_form has no version 7" in refused.stderr
    finally:
        up.send_signal(signal.SIGINT)
        assert up.wait(WITHIN_S) == 0, out.read_text()
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    assert [line for line in listed.stdout.splitlines() if str(home) in line] == []


@contextmanager
def up(out: Path, *arguments: str) -> Iterator[str]:
    """`pilotlight up` until ctrl-C at the end, what it says in `out`; gives the sidecar's URL."""
    command = [sys.executable, "-m", "pilotlight", "up", "--ports", "free", *arguments]
    with out.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, cwd=ROOT)
    try:
        assert wait_until(lambda: "ready: every hot model" in text(out), WITHIN_S), text(out)
        url = re.search(r"sidecar at (http://\S+);", text(out))
        assert url is not None
        yield url[1]
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(WITHIN_S) == 0, text(out)


@pytest.mark.triton
@pytest.mark.timeout(300)
def test_a_second_up_in_the_same_folder_changes_nothing_of_the_one_that_runs(
    shelf: Shelf, tmp_path: Path
) -> None:
    home, own = tmp_path / "home", tmp_path / "own.yaml"
    own.write_text("policy: {price: 7}\nmodels: {session: {priority: 3}}\n")
    here = ("--store", str(shelf.store.root), "--home", str(home))

    def written() -> dict[str, str]:
        return {name: (home / name).read_text() for name in ("admin.key", "settings.yaml")}

    with up(
        tmp_path / "first", *here, "--budget", "cpu=2GiB", "--settings", str(own), "--soak", "2s"
    ) as url:
        before = written()
        second = pilotlight("up", "--ports", "free", *here)
        assert (second.returncode, second.stdout) == (1, "")
        assert re.fullmatch(
            rf"error: {home} is the folder of another `pilotlight up`, process \d+ on \S+ since "
            r"\S+; stop that one, or give this one a folder and ports of its own: "
            r"`--home FOLDER --ports free`\n",
            second.stderr,
        )
        assert written() == before
        policy = json.loads(pilotlight("policy", "--json", "--url", url).stdout)
        assert (policy["budgets"]["cpu"], policy["price"]) == (2 * 2**30, 7)
        assert re.search(r"session +cold \+3 ", pilotlight("status", "--url", url).stdout)
        assert pilotlight("ensure", "session", "--url", url).returncode == 0
    with up(tmp_path / "third", *here):
        assert written()["admin.key"] == before["admin.key"]


@pytest.mark.triton
@pytest.mark.timeout(300)
def test_up_says_at_once_that_the_hot_models_exceed_the_budget(
    shelf: Shelf, tmp_path: Path
) -> None:
    here = ("--store", str(shelf.store.root), "--home", str(tmp_path / "home"))
    done = pilotlight("up", "--ports", "free", *here, "--budget", "cpu=1MiB")

    assert done.returncode == 1
    assert re.search(
        r"^error: the sidecar ended with 1; last lines of \S+:\n"
        r"  error: the hot models need .* on cpu, where 921\.6 KiB are for models",
        done.stderr,
        re.MULTILINE,
    ), done.stderr


@pytest.mark.triton
@pytest.mark.timeout(300)
def test_an_operator_asks_why_and_what_if_and_changes_what_is_wanted(running: Running) -> None:
    def told(*arguments: str) -> str:
        done = pilotlight(*arguments, "--url", running.stack.url)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert re.match(r"cold: session answers after [\d.]+ m?s\n", told("ensure", "session"))
    explained = told("explain", "session")
    assert re.search(r"cold start  version 1: .* loads seen: 1\)", explained)
    assert re.search(r"memory      holds [\d.]+ MiB on cpu \(\w+\)", explained)
    assert re.search(r"warm-up after the newest load.*[▁-█]{5}", explained, re.DOTALL)

    small = told("plan", "--budget", "1MiB")
    assert re.search(r"goes +short_form .*no room on cpu", small)
    assert "budget too small: the hot models need" in small

    assert told("pause").startswith("paused since ")
    assert told("resume").startswith("running since ")
    assert re.search(r"tier +warm +warm +\n", told("set", "session", "tier=warm", "priority=2"))
    shown = re.compile(r"session +warm \+2 +warmed")
    assert wait_until(lambda: bool(shown.search(told("status"))), WITHIN_S)

    events = told("events", "--model", "session")
    assert re.findall(r"Z  (model_kept|spec_changed) ", events) == [
        "model_kept",
        "spec_changed",
    ]
    modes = told("audit", "--event", "mode_changed", "--actor", "api")
    assert re.findall(r"mode: (\w+)", modes) == ["paused", "running"]


@pytest.mark.triton
@pytest.mark.timeout(300)
def test_what_is_watched_and_followed_goes_on_until_ctrl_c_and_outlives_the_sidecar(
    running: Running, tmp_path: Path
) -> None:
    with (
        on_terminal(tmp_path / "watch", "status", "--watch", "--url", running.stack.url) as watch,
        on_terminal(tmp_path / "events", "events", "-f", "--url", running.stack.url) as events,
    ):
        assert wait_until(lambda: "became_ready" in text(events), WITHIN_S), text(events)
        assert wait_until(lambda: "1 warmed, 1 disk" in text(watch), WITHIN_S), text(watch)
        running.admin.ask("/v1:pause")
        assert wait_until(lambda: "paused since" in text(watch), WITHIN_S), text(watch)
        assert wait_until(lambda: "mode: paused" in text(events), WITHIN_S), text(events)
        running.stack.sidecar.kill()
        assert wait_until(running.admin.is_reachable, WITHIN_S)
        assert wait_until(lambda: "short_form" in str(running.admin.readiness()), WITHIN_S), (
            "it has looked"
        )
        running.admin.change_spec("session", {"priority": "7"})
        assert wait_until(lambda: "spec_changed" in text(events), WITHIN_S), text(events)
        assert wait_until(lambda: "cold +7" in text(watch), WITHIN_S), text(watch)
    assert events.read_text().count("sidecar_started") == 2
    assert "Traceback" not in watch.read_text() + events.read_text()


@pytest.mark.build
@pytest.mark.timeout(300)
def test_build_publishes_and_skips_what_did_not_change(tmp_path: Path) -> None:
    recipe, store = tmp_path / "models.yaml", tmp_path / "store"
    (tmp_path / "double.py").write_text(
        "import torch\n\n\nclass Double(torch.nn.Module):\n"
        "    def forward(self, x):\n        return 2 * x\n\n\n"
        "def create():\n    return Double().eval()\n"
    )
    recipe.write_text(
        'triton: "24.10"\ntarget: cpu\nmodels:\n'
        '  - {name: double, source: "double:create", outputs: [y], max_batch_size: 4,\n'
        "     inputs: [{name: x, dtype: FP32, shape: [3]}]}\n"
    )
    first = pilotlight("build", str(recipe), "--store", str(store))
    assert first.returncode == 0, first.stdout
    built, summary, next_step = first.stdout.splitlines()
    assert built.startswith("double ")
    assert built.endswith(" s  1/1")
    assert summary.endswith(": 1 built, 0 unchanged, 0 failed")
    assert next_step.startswith("double 1: a first version needs no release; ")
    assert (store / "double" / "1" / "manifest.json").is_file()
    second = pilotlight("build", str(recipe), "--store", str(store), "--triton", "24.10", "--json")
    assert (second.returncode, second.stderr) == (0, "")
    *events, report = map(json.loads, second.stdout.splitlines())
    assert [event["stage"] for event in events] == ["unchanged"]
    assert report == {
        "built": [],
        "unchanged": [{"model": "double", "version": 1}],
        "failed": [],
        "warnings": [],
        "differing": [],
    }

    recipe.write_text(recipe.read_text().replace("double:create", "double:craete"))
    failed = pilotlight("build", str(recipe), "--store", str(store))
    assert failed.returncode == 1
    assert "did you mean 'create'?" in failed.stdout
    assert "0 built, 0 unchanged, 1 failed" in failed.stdout
    assert sorted(path.name for path in (store / "double").iterdir() if path.is_dir()) == [
        "1",
        "warmup",
    ]


def test_a_command_without_a_sidecar_says_how_to_start_one() -> None:
    done = pilotlight("status", "--url", "http://127.0.0.1:9")
    assert (done.returncode, done.stdout) == (4, "")
    assert "no sidecar at http://127.0.0.1:9" in done.stderr
    assert "pilotlight up" in done.stderr


def test_serve_names_what_is_wrong_with_its_settings(tmp_path: Path) -> None:
    settings = tmp_path / "pilotlight.yaml"
    settings.write_text("stoer: model_repository\n")
    done = pilotlight("serve", "--settings", str(settings))
    assert done.returncode == 1
    assert "unknown key 'stoer'; did you mean 'store'?" in done.stderr


def test_serve_names_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = pilotlight("serve", "--settings", str(_settings(tmp_path)), "--port", str(port))
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in done.stderr


@pytest.mark.triton
@pytest.mark.parametrize("ours", ["api", "gateway"])
def test_a_stack_names_a_port_that_is_taken_and_writes_nothing(
    installation: Installation, tmp_path: Path, ours: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ports = Ports.free()
        with pytest.raises(StackDidNotStart, match=f"port {port} of 127.0.0.1 is taken"):
            Stack(
                installation,
                home=tmp_path / "home",
                store=tmp_path / "store",
                ports=replace(
                    ports, **{ours: port if ours == "api" else (port, *ports.gateway[1:])}
                ),
                on_event=lambda _: None,
            )
    assert not (tmp_path / "home").exists()


@pytest.mark.triton
@pytest.mark.timeout(300)
def test_a_second_sidecar_on_the_same_state_is_refused(
    start_stack: Callable[..., Running], tmp_path: Path
) -> None:
    start_stack()
    done = pilotlight("serve", "--settings", str(tmp_path / "home" / "settings.yaml"))
    assert done.returncode == 1
    assert "another sidecar runs with the state file" in done.stderr


def test_the_sidecar_does_not_import_torch() -> None:
    code = "import sys, sidecar.compose; print('torch' in sys.modules, 'onnx' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    assert done.stdout.split() == ["False", "False"]


def _settings(folder: Path) -> Path:
    path = folder / "pilotlight.yaml"
    path.write_text(
        "store: store\nstate: state.sqlite\nservers:\n"
        "  serving: {grpc: '127.0.0.1:1', stage: a}\n  canary: {grpc: '127.0.0.1:2', stage: b}\n"
    )
    return path
