"""The console's files, and what programs get where people get the page."""

from pathlib import Path

import httpx2
import pytest

from sidecar.api.console import FOLDER
from tests.unit.sidecar.client import OPERATOR, ROLES, VIEWER, ask, bearer, problem
from tests.unit.sidecar.rig import Rig

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


def test_the_page_and_its_files_are_open_to_everybody(tmp_path: Path) -> None:
    async def story(_rig: Rig, client: httpx2.AsyncClient) -> None:
        page = await client.get("/", headers=BROWSER)
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert page.text.startswith("<!doctype html>")
        for name in ("main.js", "console.css", "icon.svg"):
            answer = await client.get(f"/console/{name}")
            assert answer.status_code == 200
            assert answer.headers["x-content-type-options"] == "nosniff"

    ask(tmp_path, story, ROLES, started=False)


def test_the_page_may_load_nothing_but_its_own_files(tmp_path: Path) -> None:
    async def story(_rig: Rig, client: httpx2.AsyncClient) -> None:
        policy = (await client.get("/", headers=BROWSER)).headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; ")
        assert "require-trusted-types-for 'script'" in policy
        assert "unsafe" not in policy

    ask(tmp_path, story, started=False)


def test_what_a_browser_has_already_is_not_sent_again(tmp_path: Path) -> None:
    async def story(_rig: Rig, client: httpx2.AsyncClient) -> None:
        first = await client.get("/console/main.js")
        assert first.headers["cache-control"] == "no-cache"
        again = {"If-None-Match": first.headers["etag"]}
        answer = await client.get("/console/main.js", headers=again)
        assert (answer.status_code, answer.content) == (304, b"")
        other = await client.get("/console/main.js", headers={"If-None-Match": '"other"'})
        assert other.status_code == 200

    ask(tmp_path, story, started=False)


@pytest.mark.parametrize("name", ["nothing.js", "..%2Fapi%2Fapp.py", "%2e%2e/errors.py", ""])
def test_what_is_no_file_of_the_console_is_a_problem(tmp_path: Path, name: str) -> None:
    async def story(_rig: Rig, client: httpx2.AsyncClient) -> None:
        found = await problem(client, f"/console/{name}", method="GET")
        assert found[:2] == (404, "unknown_path")

    ask(tmp_path, story, started=False)


@pytest.mark.parametrize("accept", ["*/*", "application/json"])
def test_a_program_is_told_where_to_go_on(tmp_path: Path, accept: str) -> None:
    async def story(_rig: Rig, client: httpx2.AsyncClient) -> None:
        answer = await client.get("/", headers={"Accept": accept})
        assert answer.headers["vary"] == "Accept"
        links = answer.json()
        assert links.pop("name") == "Pilotlight"
        known = (await client.get("/openapi.json")).json()["paths"].keys() | {"/", "/openapi.json"}
        assert {path.partition("?")[0] for path in links.values()} <= known

    ask(tmp_path, story, started=False)


def test_a_caller_learns_name_and_role(tmp_path: Path) -> None:
    async def story(_rig: Rig, client: httpx2.AsyncClient) -> None:
        for token, name, role in ((VIEWER, "vera", "viewer"), (OPERATOR, "otto", "operator")):
            answer = await client.get("/v1/caller", headers=bearer(token))
            assert answer.json() == {"name": name, "role": role}

    ask(tmp_path, story, ROLES, started=False)


def test_every_file_of_the_console_is_of_a_kind_that_is_served() -> None:
    assert {path.suffix for path in FOLDER.iterdir()} == {".css", ".html", ".js", ".svg"}
