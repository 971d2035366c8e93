"""What all commands have in common: help, JSON, errors, exit codes, colours, completion."""

import asyncio
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import AsyncIterator
from io import BytesIO, TextIOWrapper
from pathlib import Path

import pytest
import structlog
import typer
from fastapi import FastAPI, Request, Response
from rich.text import Text
from starlette.middleware.base import RequestResponseEndpoint
from typer.testing import CliRunner, Result

from pilotlight.cli import COMMANDS, app, find
from pilotlight.commands import arguments
from pilotlight.commands.connection import AUTHENTICATE
from pilotlight.commands.output import ExitCode, Output, use_lookalikes
from pilotlight.commands.progress import busy, live
from pilotlight.commands.running import Command
from tests.fakes.gateway import FakeGateway
from tests.unit.pilotlight.test_commands import with_models
from tests.unit.sidecar.client import OPERATOR, ROLES
from tests.unit.sidecar.client import app_of as app_with_tokens
from tests.unit.sidecar.rig import Rig
from tests.unit.sidecar.test_api_served import Served, serving
from tests.unit.sidecar.test_api_traffic import app_of

REGISTERED = {name: find(name) for panel in COMMANDS.values() for name in panel}
PARSERS = typer.main.get_command(app).commands
AWAY = "http://127.0.0.1:9"
Routes = set[tuple[str, str]]


def invoked(*arguments: str, env: dict[str, str] | None = None) -> Result:
    # The sidecar of these tests logs to the same place.
    with structlog.testing.capture_logs():
        return CliRunner().invoke(app, list(arguments), env=env, catch_exceptions=False)


async def asked(served: Served, *arguments: str) -> Result:
    return await asyncio.to_thread(invoked, *arguments, "--url", served.url)


def test_help_shows_the_usual_way_and_every_exit_code() -> None:
    told = invoked("--help").stdout

    for typed in ("pilotlight build models.yaml", "pilotlight up", "pilotlight release ranker 2"):
        assert typed in told
    for code in ExitCode:
        assert f"{code:3}  {code.meaning}" in told


@pytest.mark.parametrize("name", REGISTERED)
def test_help_of_a_command_has_examples_that_can_be_typed(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for file in ("request.json", "operator.token"):
        (tmp_path / file).touch()
    told = " ".join(invoked(name, "--help").stdout.split())

    assert REGISTERED[name].examples
    for example in REGISTERED[name].examples:
        assert " ".join(example.split()) in told
        ours, *_ = re.split(r" (?:\||&&|>) ", example)
        typed = shlex.split(ours, comments=True)
        assert typed[:2] == ["pilotlight", name]
        PARSERS[name].make_context(name, typed[2:])


def test_the_version_can_be_asked_for() -> None:
    assert invoked("--version").stdout.startswith("pilotlight ")


SLOW = {
    *("asyncio", "grpc", "httpx2", "numpy", "onnx", "torch", "tritonclient"),
    *("embedded", "generator", "sidecar", "pilotlight.client"),
}
"""Packages that take longer to import than a command takes that needs none of them."""


def imported(*arguments: str, env: dict[str, str] | None = None) -> set[str]:
    """What a process of its own has imported at its end."""
    code = (
        "import atexit, runpy, sys\n"
        "atexit.register(lambda: print(*sys.modules, file=sys.stderr))\n"
        "runpy.run_module('pilotlight', run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=os.environ | (env or {}),
        capture_output=True,
        text=True,
        check=False,
    )
    return set(done.stderr.splitlines()[-1].split())


@pytest.mark.parametrize(
    "typed", ["--help", "--version", "statsu", "build --help", "lint --help", "init --help"]
)
def test_nothing_slow_is_imported_for_other_commands(typed: str) -> None:
    assert SLOW & imported(*typed.split()) == set()


def test_a_shell_completes_names_of_commands_without_importing_them() -> None:
    typed = {"COMP_WORDS": "pilotlight re", "COMP_CWORD": "1"}
    typed["_PILOTLIGHT_COMPLETE"] = "complete_bash"
    assert SLOW & imported(env=typed) == set()


def test_a_command_that_is_none_is_told_the_nearest() -> None:
    done = invoked("statsu")

    assert done.exit_code == ExitCode.USAGE
    assert "Did you mean 'status'" in done.stderr


def test_what_cannot_be_understood_is_an_error_in_json_too() -> None:
    done = invoked("load", "--json")

    assert (done.exit_code, done.stdout) == (ExitCode.USAGE, "")
    assert json.loads(done.stderr) == {
        "error": {
            "code": "usage",
            "message": "Missing argument 'model'.",
            "remedy": None,
            "problem": None,
            "exit_code": 2,
        }
    }


@pytest.mark.parametrize(
    ("arguments", "environment", "origin"),
    [
        (("--url", AWAY), {}, "what --url says"),
        (("--url", AWAY.removeprefix("http://")), {}, "what --url says"),
        ((), {"PILOTLIGHT_URL": AWAY}, "what PILOTLIGHT_URL says"),
    ],
)
def test_without_a_sidecar_it_is_said_which_was_asked_and_what_to_start(
    arguments: tuple[str, ...], environment: dict[str, str], origin: str
) -> None:
    done = invoked("status", *arguments, env=environment)

    assert (done.exit_code, done.stdout) == (ExitCode.UNREACHABLE, "")
    assert f"no sidecar at {AWAY}" in done.stderr
    assert f"{AWAY} is {origin}; name another with --url" in done.stderr
    assert "`pilotlight up`" in done.stderr


@pytest.mark.parametrize("typed", ["doctor", "load c", "release c 1", "events -f"])
def test_without_a_sidecar_the_error_is_json_too(typed: str) -> None:
    done = invoked(*typed.split(), "--json", "--url", AWAY)

    assert (done.exit_code, done.stdout) == (ExitCode.UNREACHABLE, "")
    assert json.loads(done.stderr)["error"]["code"] == "unreachable"


ASKING = {
    "status": "",
    "doctor": "",
    "whoami": "",
    "explain": "m",
    "plan": "",
    "policy": "",
    "operations": "",
    "events": "",
    "audit": "",
    "load": "c",
    "unload": "c",
    "ensure": "c",
    "set": "c priority=2",
    "unquarantine": "m",
    "release": "d 1",
    "watch": "d",
    "promote": "d",
    "abort": "d",
    "rollback": "d",
    "train": "",
    "trains": "",
    "releases": "",
    "history": "m",
    "report": "d",
    "unreject": "m 1",
    "gateway": "",
    "traffic": "m --weights 1=1",
    "recording": "m --percent 1",
    "pause": "",
    "resume": "",
    "drain": "",
}
"""With arguments, in the order in which they can be asked one after the other."""
STREAMS = {"release", "watch"}
ALSO_ASKED = (
    "plan --budget 1GiB",
    "set c",
    "operations x",
    "trains x",
    "train --stop x",
    "traffic m --off",
    "recording m --off",
    "recording m --add request.json",
    "pause d",
    "resume d",
    "watch x",
)
NOT_ASKED = {
    ("GET", "/livez"): "for probes",
    ("GET", "/startupz"): "for probes",
    ("GET", "/metrics"): "for Prometheus",
    ("GET", "/v1/replica"): "for other replicas",
    ("GET", "/v1/models/{model}"): "the same as in the list, and in `explain`",
    (
        "POST",
        "/v1/releases/{release_id}:rollback",
    ): "by a release's id; see test_release_commands.py",
    ("GET", "/v1/events"): "`events --follow` never ends; see tests/e2e/test_command.py",
}


@pytest.fixture
async def observed(tmp_path: Path) -> AsyncIterator[tuple[Served, Routes]]:
    """A sidecar at a gateway, and the routes that were asked."""
    asked: Routes = set()
    rig = Rig(tmp_path)
    rig.gateway = FakeGateway()

    def observing(rig: Rig) -> FastAPI:
        app = app_of(rig)

        @app.middleware("http")
        async def observe(request: Request, answer: RequestResponseEndpoint) -> Response:
            answered = await answer(request)
            asked.add((request.method, request.scope["route"].path))
            return answered

        return app

    async with serving(rig, observing) as served:
        yield served, asked


async def test_every_command_prints_json_and_nothing_else_and_all_of_the_api_can_be_typed(
    observed: tuple[Served, Routes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served, routes = observed
    monkeypatch.chdir(tmp_path)
    (tmp_path / "request.json").write_text("{}")
    await with_models(served, "c", "d")

    for name, given in ASKING.items():
        done = await asked(served, name, *given.split(), "--json")
        if done.exit_code == 0:
            documents = done.stdout.splitlines() if name in STREAMS else [done.stdout]
            assert all(json.loads(each) is not None for each in documents), name
            assert done.stderr == "", name
        else:
            assert json.loads(done.stderr)["error"]["exit_code"] == done.exit_code, name
            assert done.stdout == "", name
    for typed in ALSO_ASKED:
        await asked(served, *typed.split(), "--json")

    api = served.server.config.app
    assert isinstance(api, FastAPI)
    offered = {
        (method.upper(), path) for path, each in api.openapi()["paths"].items() for method in each
    }
    assert offered - routes <= NOT_ASKED.keys()


async def test_a_body_is_that_of_the_rest_api(served: Served) -> None:
    await with_models(served, "c")

    shown = json.loads((await asked(served, "set", "c", "--json")).stdout)
    assert shown["effective"]["tier"] == "cold"
    status = json.loads((await asked(served, "status", "--json")).stdout)
    assert [model["name"] for model in status["models"]] == ["c", "m"]
    assert status["readiness"]["ready"] is True


async def test_an_error_of_the_sidecar_keeps_its_code(served: Served) -> None:
    await with_models(served)

    done = await asked(served, "explain", "mm", "--json")

    error = json.loads(done.stderr)["error"]
    assert (error["code"], error["problem"]["status"]) == ("unknown_model", 404)
    assert "did you mean 'm'?" in error["message"]


async def test_a_token_is_named_by_its_file(tmp_path: Path) -> None:
    token = tmp_path / "operator.token"
    token.write_text(f"{OPERATOR}\n")

    async with serving(Rig(tmp_path), lambda rig: app_with_tokens(rig, ROLES)) as served:
        refused = await asked(served, "whoami")
        done = await asked(served, "whoami", "--token-file", str(token))

    assert (refused.exit_code, refused.stdout) == (ExitCode.FAILED, "")
    assert refused.stderr.splitlines()[-1].strip() == AUTHENTICATE
    assert (done.exit_code, done.stdout) == (ExitCode.DONE, "otto, operator\n")


async def test_a_release_that_is_watched_is_a_line_for_each_change(served: Served) -> None:
    await with_models(served, "c")

    done = await asked(served, "release", "c", "1", "--json")

    seen = [json.loads(line) for line in done.stdout.splitlines()]
    assert (seen[-1]["state"], seen[-1]["active"]) == ("done", False)
    assert len(seen) == len(set(done.stdout.splitlines()))


async def test_the_doctor_says_what_is_amiss_and_what_to_do(served: Served) -> None:
    await with_models(served)
    assert (await asked(served, "doctor")).stdout.splitlines()[-1].strip() == "ready"

    served.rig.serving.kill()
    await served.rig.until(lambda: served.rig.missing() != [], "the server is missed")
    done = await asked(served, "doctor")

    assert done.exit_code == ExitCode.FAILED
    assert any(
        line.startswith("amiss") and "server serving" in line for line in done.stdout.splitlines()
    )


async def test_operations_releases_and_trains_are_listed(served: Served) -> None:
    await with_models(served, "c")
    await asked(served, "load", "c")

    _, newest = (await asked(served, "operations")).stdout.splitlines()
    assert newest.split()[2:7] == ["api", "load", "c", "done", "after"]
    releases = (await asked(served, "releases")).stdout.splitlines()[1:]
    assert [line.split()[3:7] for line in releases][-1] == ["m", "1,", "its", "first"]
    assert (await asked(served, "trains")).stdout == "no train yet\n"


def output(monkeypatch: pytest.MonkeyPatch, encoding: str = "utf-8") -> tuple[Output, BytesIO]:
    """Into a pipe."""
    pipe = BytesIO()
    monkeypatch.setattr(sys, "stdout", TextIOWrapper(pipe, encoding=encoding, write_through=True))
    use_lookalikes()
    return Output.open(), pipe


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({}, b"red\n"),
        ({"FORCE_COLOR": "1"}, b"\x1b[31mred\x1b[0m\n"),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, b"red\n"),
    ],
)
def test_colours_are_for_terminals_unless_they_are_asked_for(
    environment: dict[str, str], said: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FORCE_COLOR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    out, pipe = output(monkeypatch)

    out.say(Text("red", "red"))

    assert pipe.getvalue() == said


def test_nothing_moves_and_nothing_is_cut_in_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    out, pipe = output(monkeypatch)

    with busy(out.console, "waiting"), live(out.console) as show:
        show(Text("a view"))
        out.show({}, Text("x" * 300))

    assert pipe.getvalue() == b"x" * 300 + b"\n"


def test_an_encoding_without_blocks_gets_what_looks_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    out, pipe = output(monkeypatch, "ascii")

    out.say(Text("█▓▒░· ▁▂▃▄▅▆▇ é"))

    assert pipe.getvalue() == b"##+-. .--++## ?\n"


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("load ", ["c", "m"]),
        ("explain m", ["m"]),
        ("unreject m ", ["1"]),
        ("watch m", ["m"]),
        ("events --model ", ["c", "m"]),
    ],
)
async def test_a_shell_is_offered_names_of_the_sidecar(
    served: Served, words: str, offered: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # This machine may have much else to do.
    monkeypatch.setattr(arguments, "PATIENCE_S", 20.0)
    await with_models(served, "c")

    assert set(offered) <= set(await asyncio.to_thread(completions, words, served.url))


def test_a_shell_is_offered_nothing_by_a_sidecar_that_is_away() -> None:
    assert completions("load ", AWAY) == []
    assert completions("loa", AWAY) == ["load"]


def completions(words: str, url: str) -> list[str]:
    typed = f"pilotlight {words}"
    environment = {
        "_PILOTLIGHT_COMPLETE": "complete_bash",
        "COMP_WORDS": typed,
        "COMP_CWORD": str(len(typed.split(" ")) - 1),
        "PILOTLIGHT_URL": url,
    }
    with structlog.testing.capture_logs():
        done = CliRunner().invoke(app, [], env=environment, prog_name="pilotlight")
    return done.stdout.split()


def test_a_command_of_our_own_knows_json() -> None:
    for name, registered in REGISTERED.items():
        assert isinstance(registered, Command), name
        options = PARSERS[name].params
        assert any("--json" in option.opts for option in options), name


async def test_a_token_that_the_sidecar_does_not_know_is_told_by_its_file(tmp_path: Path) -> None:
    token = tmp_path / "old.token"
    token.write_text("was changed since\n")

    async with serving(Rig(tmp_path), lambda rig: app_with_tokens(rig, ROLES)) as served:
        refused = await asked(served, "whoami", "--token-file", str(token))

    assert refused.exit_code == ExitCode.FAILED
    assert f"{token} holds no token that this sidecar knows" in refused.stderr
