"""Who may do what, and under which name it is recorded."""

from pathlib import Path

import httpx2
import pytest

from sidecar.api.auth import Caller, Callers
from sidecar.errors import InvalidSettings
from sidecar.settings import Role
from tests.unit.sidecar.client import OPERATOR, ROLES, VIEWER, ask, bearer, problem_in
from tests.unit.sidecar.rig import Rig


def test_with_tokens_only_health_and_metrics_are_open(tmp_path: Path) -> None:
    async def story(_rig: Rig, client: httpx2.AsyncClient) -> None:
        for path in ("/livez", "/startupz", "/readyz", "/metrics", "/openapi.json"):
            assert (await client.get(path)).status_code == 200
        for path in ("/v1/models", "/v1/operations", "/v1/audit", "/v1/events", "/v1/caller"):
            answer = await client.get(path)
            assert problem_in(answer)["code"] == "not_authenticated"
            assert answer.headers["www-authenticate"] == "Bearer"

    ask(tmp_path, story, ROLES)


@pytest.mark.parametrize(
    "header",
    [
        "Bearer wrong",
        "Bearer",
        "Bearer ",
        f"Basic {OPERATOR}",
        OPERATOR,
        f"Bearer {OPERATOR} ä".encode("latin-1"),
    ],
    ids=str,
)
def test_a_token_that_is_not_known_opens_nothing(tmp_path: Path, header: str | bytes) -> None:
    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        headers = {b"authorization": header}
        for method, path in (("GET", "/v1/models"), ("POST", "/v1/models/c:load")):
            answer = await client.request(method, path, headers=headers)  # type: ignore[arg-type]
            assert problem_in(answer)["code"] == "not_authenticated"
        assert "operation_accepted" not in rig.told()

    ask(tmp_path, story, ROLES)


def test_a_viewer_reads_and_changes_nothing(tmp_path: Path) -> None:
    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        client.headers.update(bearer(VIEWER))
        assert (await client.get("/v1/models/m")).status_code == 200
        answer = await client.post("/v1/models/c:load")
        content = problem_in(answer)
        assert (answer.status_code, content["code"]) == (403, "forbidden")
        assert content["role"] == "operator"
        assert content["detail"] == "vera is a viewer; POST needs a token of role operator"
        assert "operation_accepted" not in rig.told()

    ask(tmp_path, story, ROLES)


def test_the_name_of_the_token_is_the_actor_of_operation_and_audit(tmp_path: Path) -> None:
    async def story(_rig: Rig, client: httpx2.AsyncClient) -> None:
        client.headers.update(bearer(OPERATOR))
        operation = (await client.post("/v1/models/c:load")).json()
        assert operation["actor"] == "otto"
        (entry,) = (await client.get("/v1/audit?actor=otto")).json()["entries"]
        assert (entry["event"], entry["actor"]) == ("operation_accepted", "otto")

    ask(tmp_path, story, ROLES)


def test_without_tokens_everybody_acts(tmp_path: Path) -> None:
    async def story(_rig: Rig, client: httpx2.AsyncClient) -> None:
        assert (await client.post("/v1/models/c:load")).json()["actor"] == "api"

    ask(tmp_path, story)


def test_one_token_is_not_two_callers() -> None:
    ann, ben = (Caller(name=name, role=Role.VIEWER) for name in ("ann", "ben"))

    with pytest.raises(InvalidSettings, match="among ann, ben, two have the same token"):
        Callers({ann: "same", ben: "same"})
