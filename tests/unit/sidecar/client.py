"""A client of a whole sidecar on fake servers."""

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import httpx2
from fastapi import FastAPI

from sidecar.api.app import create_app
from sidecar.api.auth import Caller, Callers
from sidecar.settings import Role
from tests.builders import publish
from tests.unit.sidecar.rig import Rig, run
from tests.unit.sidecar.test_cycles import serving_version_1

Story = Callable[[Rig, httpx2.AsyncClient], Awaitable[None]]
# Tokens of a viewer and of an operator, for stories with roles.
VIEWER, OPERATOR = "look", "act"
ROLES = {
    Caller(name="vera", role=Role.VIEWER): VIEWER,
    Caller(name="otto", role=Role.OPERATOR): OPERATOR,
}


def ask(
    tmp_path: Path,
    story: Story,
    tokens: Mapping[Caller, str] | None = None,
    *,
    started: bool = True,
    **faults: list[str],
) -> None:
    """Play a story with a client; `m` version 1 serves, version 2 and a cold `c` are stored."""

    async def play(rig: Rig) -> None:
        if started:
            publish(rig.store, "c", 1)
            await serving_version_1(rig)
        else:
            rig.start()
        async with client_of(app_of(rig, tokens)) as client:
            await story(rig, client)

    run(tmp_path, play, **faults)


def app_of(rig: Rig, tokens: Mapping[Caller, str] | None = None) -> FastAPI:
    return create_app(rig.sidecar.world, rig.sidecar.loop, rig.state, Callers(tokens or {}))


def client_of(app: FastAPI) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://localhost:8080")


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def problem(
    client: httpx2.AsyncClient,
    path: str,
    body: object = None,
    method: str = "POST",
    headers: Mapping[str, str] | None = None,
) -> tuple[int, str, str]:
    answer = await client.request(method, path, json=body, headers=headers)
    content = problem_in(answer)
    return answer.status_code, content["code"], content["detail"]


def problem_in(answer: httpx2.Response) -> dict[str, Any]:
    assert answer.headers["content-type"] == "application/problem+json"
    content: dict[str, Any] = answer.json()
    assert content["status"] == answer.status_code
    assert content["type"] == f"urn:pilotlight:problem:{content['code'].replace('_', '-')}"
    assert content["request_id"] == answer.headers["x-request-id"]
    return content


async def ended(rig: Rig, client: httpx2.AsyncClient, location: str) -> dict[str, Any]:
    await rig.until(lambda: rig.told().count("operation_ended") > 0, "the operation ends")
    answer: dict[str, Any] = (await client.get(location)).json()
    return answer
