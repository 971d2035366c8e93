"""Who may do what, and under which name it is recorded."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from sidecar.api.auth import Caller, Callers
from sidecar.api.guard import LARGEST_BODY_BYTES
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


class Upload:
    """A body that comes in parts of a MiB, and knows how many were taken."""

    def __init__(self, parts: int) -> None:
        self.taken = 0
        self._parts = parts

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for _ in range(self._parts):
            self.taken += 1
            yield bytes(2**20)


def test_nothing_is_read_of_a_body_without_a_token(tmp_path: Path) -> None:
    async def story(_rig: Rig, client: httpx2.AsyncClient) -> None:
        upload = Upload(200)
        answer = await client.post("/v1/plans", content=upload)
        assert problem_in(answer)["code"] == "not_authenticated"
        assert upload.taken == 0

    ask(tmp_path, story, ROLES)


@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "a-key"}])
def test_a_body_that_is_too_large_is_not_read_to_its_end(
    tmp_path: Path, headers: dict[str, str]
) -> None:
    async def story(_rig: Rig, client: httpx2.AsyncClient) -> None:
        upload = Upload(200)
        answer = await client.post("/v1/plans", content=upload, headers=headers)
        assert (answer.status_code, problem_in(answer)["code"]) == (413, "body_too_large")
        assert upload.taken == LARGEST_BODY_BYTES / 2**20 + 1

    ask(tmp_path, story)


HERE, ELSEWHERE = "localhost:8080", "evil.example"


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("POST", "/v1/models/c:load", {"host": ELSEWHERE}, 403),
        ("POST", "/v1/models/c:load", {"origin": f"http://{ELSEWHERE}"}, 403),
        ("POST", "/v1/models/c:load", {"origin": "null"}, 403),
        ("POST", "/v1/models/c:load", {"origin": f"http://{HERE}"}, 202),
        ("POST", "/v1/models/c:load", {"host": "127.0.0.1:8080"}, 202),
        ("GET", "/v1/audit", {"host": ELSEWHERE}, 403),
        ("GET", "/v1/audit", {"host": "[::1]:8080"}, 200),
        ("GET", "/v1/audit", {"origin": f"http://{ELSEWHERE}"}, 200),
    ],
)
def test_without_tokens_no_page_of_another_site_acts_or_reads(
    tmp_path: Path, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    async def story(_rig: Rig, client: httpx2.AsyncClient) -> None:
        answer = await client.request(method, path, headers=headers)
        assert answer.status_code == status
        if status == 403:
            assert "set api.tokens" in problem_in(answer)["detail"]

    ask(tmp_path, story)


def test_with_tokens_it_does_not_matter_how_the_api_is_called(tmp_path: Path) -> None:
    async def story(_rig: Rig, client: httpx2.AsyncClient) -> None:
        headers = {"host": "sidecar.example", "origin": "http://console.example"}
        answer = await client.post("/v1/models/c:load", headers=bearer(OPERATOR) | headers)
        assert answer.status_code == 202

    ask(tmp_path, story, ROLES)


def test_one_token_is_not_two_callers() -> None:
    ann, ben = (Caller(name=name, role=Role.VIEWER) for name in ("ann", "ben"))

    with pytest.raises(InvalidSettings, match="among ann, ben, two have the same token"):
        Callers({ann: "same", ben: "same"})
