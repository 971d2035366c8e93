"""How stages end, in fresh interpreters and in forks."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from embedded.process import wait_until
from generator import forks, worker
from generator.errors import GeneratorError, OutOfMemory, StageRefused, WorkerCrashed, WorkerDied
from tests.unit.generator.wayward_stage import Job, Reply

ROOT = Path(__file__).parents[3]
STAGE = "tests.unit.generator.wayward_stage"


@pytest.fixture(scope="module")
def without_pytorch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A fork server that is there at once, because what takes long to import is not there."""
    folder = tmp_path_factory.mktemp("missing")
    for name in ("torch", "onnxscript"):
        (folder / f"{name}.py").write_text("raise ImportError")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{folder}:{ROOT}")
        yield


@pytest.fixture(params=[False, True], ids=["fresh", "forked"])
def run(
    request: pytest.FixtureRequest, without_pytorch: None, tmp_path: Path
) -> Callable[..., str]:
    def run(end: str, **environment: str) -> str:
        return worker.run(
            STAGE,
            Job(end=end),
            Reply,
            scratch=tmp_path,
            cwd=tmp_path,
            environment=environment,
            forked=request.param,
        ).said

    return run


def run_forked(end: str, scratch: Path, *, sign: Path | None = None) -> str:
    job = Job(end=end, sign=sign)
    return worker.run(STAGE, job, Reply, scratch=scratch, cwd=scratch, forked=True).said


def test_a_stage_answers(run: Callable[..., str]) -> None:
    assert run("reply", WAYWARD="told") == "told"


def test_a_stage_works_in_its_folder(run: Callable[..., str], tmp_path: Path) -> None:
    assert run("folder") == str(tmp_path)


def test_a_file_named_like_a_library_does_not_shadow_it(
    run: Callable[..., str], tmp_path: Path
) -> None:
    for library in ("pydantic", "numpy", "generator", "runpy"):
        (tmp_path / f"{library}.py").write_text("raise AssertionError")

    assert run("reply") == "done"


def test_a_stage_finds_nothing_of_the_one_before(run: Callable[..., str]) -> None:
    assert [run("mark"), run("mark")] == ["[None, None]"] * 2


@pytest.mark.parametrize(
    ("end", "kind", "said"),
    [
        ("refusal", StageRefused, "^the model is square$"),
        ("exception", WorkerCrashed, "failed with exit code 1: (?s:.*)nobody expected this$"),
        ("exit", WorkerCrashed, "failed with exit code 3: no output"),
        ("leave", WorkerCrashed, "failed with exit code 1: no output"),
        ("SIGSEGV", WorkerDied, "was killed by SIGSEGV"),
        ("SIGKILL", OutOfMemory, "killed by SIGKILL, as the kernel does when memory runs out"),
        ("out of memory", OutOfMemory, r"ran out of memory; build fewer at once \(--jobs 1\)"),
    ],
)
def test_says_how_a_stage_ended(
    run: Callable[..., str], end: str, kind: type[GeneratorError], said: str
) -> None:
    with pytest.raises(kind, match=said) as ended:
        run(end)

    assert type(ended.value) is kind


@pytest.mark.parametrize("forked", [False, True], ids=["fresh", "forked"])
@pytest.mark.usefixtures("without_pytorch")
def test_no_process_outlives_a_killed_builder(tmp_path: Path, *, forked: bool) -> None:
    sign = tmp_path / "pids"
    code = (
        "from pathlib import Path; from generator import worker\n"
        f"from {STAGE} import Job, Reply\n"
        f"scratch = Path({str(tmp_path)!r})\n"
        f"worker.run({STAGE!r}, Job(end='wait', sign=Path({str(sign)!r})), Reply,\n"
        f"  scratch=scratch, cwd=scratch, forked={forked})"
    )
    builder = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    stage, parent = pids_on(sign)

    builder.kill()
    builder.wait()

    assert wait_until(lambda: is_dead(stage) and is_dead(parent), 30)


@pytest.mark.usefixtures("without_pytorch")
def test_a_fork_that_takes_too_long_is_killed(tmp_path: Path) -> None:
    asked = tmp_path / "job"
    asked.write_text(Job(end="hold").model_dump_json())
    job = forks.Job(STAGE, [str(asked), "unanswered"], str(tmp_path), dict(os.environ))
    server = run_forked("parent", tmp_path)

    with pytest.raises(subprocess.TimeoutExpired):
        forks.run(job, timeout_s=1)

    assert Path(f"/proc/{server}/task/{server}/children").read_text() == ""


@pytest.mark.usefixtures("without_pytorch")
def test_a_killed_server_is_told_and_replaced(tmp_path: Path) -> None:
    sign = tmp_path / "pids"
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(run_forked, "wait", tmp_path, sign=sign)
        stage, server = pids_on(sign)
        os.kill(server, signal.SIGKILL)

        with pytest.raises(OutOfMemory, match="killed by SIGKILL"):
            waiting.result()

    assert wait_until(lambda: is_dead(stage), 30)
    assert run_forked("reply", tmp_path) == "done"


@pytest.mark.usefixtures("without_pytorch")
def test_another_server_orders_sets_otherwise(tmp_path: Path) -> None:
    order = run_forked("order", tmp_path)
    forks.renew()

    assert run_forked("order", tmp_path) != order


@pytest.mark.usefixtures("without_pytorch")
def test_forks_run_beside_each_other(tmp_path: Path) -> None:
    signs = [tmp_path / name / "pids" for name in ("one", "other")]
    with ThreadPoolExecutor() as pool:
        for sign in signs:
            sign.parent.mkdir()
            pool.submit(run_forked, "wait", sign.parent, sign=sign)
        (first, server), (second, same) = map(pids_on, signs)
        os.kill(first, signal.SIGKILL)
        os.kill(second, signal.SIGKILL)

    assert server == same


@pytest.mark.build
def test_forks_begin_alike_but_for_chance_with_pytorch_imported_and_no_thread_behind_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))

    assert run_forked("not imported", tmp_path) == "[]"
    assert_no_number_twice(run_forked("chance", tmp_path), run_forked("chance", tmp_path))
    server = run_forked("parent", tmp_path)
    assert [task.name for task in Path(f"/proc/{server}/task").iterdir()] == [server]


def assert_no_number_twice(*drawn: str) -> None:
    numbers = " ".join(drawn).split()
    assert sorted(set(numbers)) == sorted(numbers)


def pids_on(sign: Path) -> tuple[int, int]:
    """Of a stage that waits, and of its parent."""
    assert wait_until(lambda: sign.exists() and len(sign.read_text().split()) == 2, 30)
    stage, parent = map(int, sign.read_text().split())
    return stage, parent


def is_dead(pid: int) -> bool:
    """Nobody may be there to reap an orphan."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return stat.rpartition(")")[2].split()[0] == "Z"
