"""`pilotlight train` against a sidecar on fake servers."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
import structlog
import typer
from rich.console import Console
from typer.testing import CliRunner

from pilotlight.admin import Admin
from pilotlight.commands.output import Output
from pilotlight.commands.train import run_train, train_command
from tests.builders import publish
from tests.unit.sidecar.client import app_of
from tests.unit.sidecar.rig import Rig
from tests.unit.sidecar.test_api_served import Served, serving

app = typer.Typer()
app.command()(train_command.run)


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    """`a` and `b` serve version 1, and have a second one."""
    rig = Rig(tmp_path)
    rig.policy = replace(rig.policy, soak_s=0.1)
    for name in ("a", "b"):
        publish(rig.store, name, 1, tier="hot")
    async with serving(rig, app_of) as served:
        await rig.at_rest()
        yield served


async def said(served: Served, *arguments: str) -> tuple[int, list[str]]:
    """Exit code of a command, and its lines."""
    # The sidecar of these tests logs to the same place.
    with structlog.testing.capture_logs():
        done = await asyncio.to_thread(
            CliRunner().invoke, app, [*arguments, "--url", served.url], catch_exceptions=False
        )
    return done.exit_code, [line.rstrip() for line in done.output.splitlines()]


def words_in(told: StringIO) -> Output:
    console = Console(file=told, width=200)
    return Output(as_json=False, console=console, errors=console, stdout=told)


async def test_each_step_is_shown_until_the_last_model_is_done(served: Served) -> None:
    publish(served.rig.store, "a", 2, tier="hot")

    # Comparisons take their time, and have tests of their own.
    wanted = {"strategy": {"outputs": "any", "latency_margin": None}}
    told = StringIO()

    def watch() -> None:
        with Admin(served.url) as admin:
            run_train(words_in(told), admin, wanted, watch=True)

    await asyncio.to_thread(watch)

    lines = [line.rstrip() for line in told.getvalue().splitlines()]
    assert lines[0].endswith(": 1 to release")
    assert lines[1].split()[:2] == ["a", "admitted"]
    assert lines[-2].split() == ["a", "done", "version", "2", "serves", "alone"]
    assert lines[-1] == "done: 1 done"
    assert len(lines) == len(set(lines))


async def test_the_first_failure_ends_it_badly_and_is_named(served: Served) -> None:
    publish(served.rig.store, "a", 2, tier="hot", scale=2.02)
    publish(served.rig.store, "b", 2, tier="hot")

    code, lines = await said(served)

    assert code == 1
    assert lines[-1].startswith("error: stopped: a version 2: refused: ")
    assert lines[-1].endswith("; 1 waiting, 1 failed")


async def test_a_train_whose_releases_wait_for_a_person_is_left_to_them(served: Served) -> None:
    publish(served.rig.store, "a", 2, tier="hot")
    wanted = {"strategy": {"outputs": "any", "latency_margin": None, "approval": "manual"}}
    told = StringIO()

    def watch() -> None:
        with Admin(served.url) as admin:
            run_train(words_in(told), admin, wanted, watch=True)

    with pytest.raises(typer.Exit) as left:
        await asyncio.to_thread(watch)

    assert left.value.exit_code == 3
    assert told.getvalue().splitlines()[-1] == (
        "waits for a person: version 2 of a; `pilotlight promote a` or `pilotlight abort a`"
    )


async def test_a_train_can_be_left_alone_and_stopped(served: Served) -> None:
    for name in ("a", "b"):
        publish(served.rig.store, name, 2, tier="hot")

    served.rig.canary.add_faults("load b: slow 60s")

    code, (begun,) = await said(served, "--no-watch", "--at-once", "1", "b", "a")
    assert (code, begun.endswith(": 2 to release")) == (0, True)
    train = begun.split()[1].removesuffix(":")

    code, (stopped,) = await said(served, "--stop", train)
    assert code == 0
    assert stopped.startswith("stopped: 1 waiting, 1 ") or stopped == "stopped: 2 waiting"


async def test_models_that_never_served_are_taken_where_that_is_asked(served: Served) -> None:
    publish(served.rig.store, "c", 1)

    code, lines = await said(served, "c", "--unserved")

    assert (code, lines[-1]) == (0, "done: 1 done")


async def test_nothing_pending_is_said(served: Served) -> None:
    code, lines = await said(served)

    assert code == 1
    assert lines == [
        "error: 409 nothing_pending: nothing to release: no model has a newer version that was "
        "neither rejected nor rolled back; `pilotlight train MODEL` says why of one"
    ]
