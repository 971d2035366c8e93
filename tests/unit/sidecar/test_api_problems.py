"""Every error is a problem with a code of the table."""

import ast
import re
from pathlib import Path

import httpx2
import pytest
from fastapi import FastAPI
from structlog.testing import capture_logs

import sidecar
from sidecar import errors
from sidecar.api.context import RequestContext
from sidecar.api.problems import CODES, add_problem_handlers
from sidecar.errors import (
    DoesNotFit,
    Quarantined,
    RequestRefused,
    StateConflict,
    TooLate,
)
from tests.unit.sidecar.client import ask, client_of, problem, problem_in
from tests.unit.sidecar.rig import Rig

# As the tree of errors says.
STATUS = {
    name: int(status) for name, status in re.findall(r"── (\w+) +(\d{3}):", str(errors.__doc__))
}


def raised() -> set[tuple[str, str]]:
    """Error class and code of each refusal in the source."""
    found = set()
    for path in Path(sidecar.__path__[0]).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and node.name in STATUS:
                calls = [call for call in ast.walk(node) if isinstance(call, ast.Call)]
                calls = [call for call in calls if ast.unparse(call.func) == "super().__init__"]
                found |= {(node.name, code) for call in calls if (code := literal(call))}
            if isinstance(node, ast.Call) and len(node.args) == 2 and (code := literal(node)):
                name = node.func.id if isinstance(node.func, ast.Name) else ""
                found |= {(name, code)} if name in STATUS else set()
    return found


def literal(call: ast.Call) -> str | None:
    first = call.args[0] if call.args else None
    return first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else None


def test_every_code_that_is_raised_is_in_the_table_with_the_status_of_its_error() -> None:
    known = {code: kind.status for code, kind in CODES.items()}
    assert {code: STATUS[name] for name, code in raised()}.items() <= known.items()


def test_the_tree_of_errors_tells_the_status_of_every_refusal() -> None:
    classes = {name for name, value in vars(errors).items() if is_refusal(value)}
    assert classes == set(STATUS)


def is_refusal(value: object) -> bool:
    return (
        isinstance(value, type)
        and issubclass(value, RequestRefused)
        and value is not RequestRefused
    )


async def answer_to(error: Exception, headers: dict[str, str] | None = None) -> httpx2.Response:
    app = FastAPI()
    app.add_middleware(RequestContext)
    add_problem_handlers(app)

    @app.get("/thing")
    async def get() -> None:
        raise error

    async with client_of(app) as client:
        return await client.get("/thing", headers=headers)


async def test_what_does_not_fit_is_told_with_all_figures() -> None:
    error = DoesNotFit(
        "m version 3 needs 2.1 GiB on GPU 0; 0.8 GiB can be freed",
        device="gpu0",
        needed_bytes=2_254_857_830,
        free_bytes=503_316_480,
        evictable_bytes=356_515_840,
        blocked_by=["n (pinned)", "o (in use)"],
    )

    answer = await answer_to(error)

    content = problem_in(answer)
    assert answer.status_code == 507
    assert {key: content[key] for key in error.members} == error.members
    assert content["title"] == "The model does not fit"
    assert content["instance"] == "/thing"


async def test_a_quarantine_tells_its_end() -> None:
    content = problem_in(await answer_to(Quarantined("m failed 3 times", until_s=1_800_000_000.0)))
    assert (content["status"], content["until"]) == (423, "2027-01-15T08:00:00Z")


async def test_a_deadline_that_passed_is_504() -> None:
    assert problem_in(await answer_to(TooLate("m loads for 3 s more")))["status"] == 504


async def test_a_bug_is_told_without_its_traceback_and_logged_with_it() -> None:
    with capture_logs() as logs:
        answer = await answer_to(ZeroDivisionError("secret"), {"x-request-id": "r1"})

    content = problem_in(answer)
    assert (content["status"], content["code"]) == (500, "internal_error")
    assert content["detail"] == "look for request r1 in the sidecar's log"
    assert "secret" not in answer.text
    (line,) = logs
    assert (line["event"], line["request_id"], line["path"]) == ("request_crashed", "r1", "/thing")
    assert line["exc_info"]


async def test_a_write_that_lost_a_race_is_a_conflict_or_stale() -> None:
    error = StateConflict("desired/m is not at revision 1 any more")
    assert problem_in(await answer_to(error))["code"] == "changed_meanwhile"
    conditional = await answer_to(error, {"If-Match": '"1"'})
    assert problem_in(conditional)["code"] == "stale"


def test_what_the_framework_refuses_is_a_problem_too(tmp_path: Path) -> None:
    async def story(_rig: Rig, client: httpx2.AsyncClient) -> None:
        assert (await problem(client, "/v1/nothing"))[:2] == (404, "unknown_path")
        answer = await client.delete("/v1/models")
        assert problem_in(answer)["code"] == "method_not_allowed"
        assert answer.headers["allow"] == "GET"
        path, headers = "/v1/models/m/releases", {"content-type": "application/json"}
        for body in (b"{", b"\xff", b'{"version": 1'):
            answer = await client.post(path, content=body, headers=headers)
            assert (answer.status_code, problem_in(answer)["code"]) == (400, "malformed_body")

    ask(tmp_path, story)


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ("application/x-www-form-urlencoded", "as application/x-www-form-urlencoded"),
        ("text/plain; charset=utf-8", "as text/plain"),
        (None, "without a content type"),
    ],
)
def test_a_body_that_is_not_called_json_changes_nothing_and_says_how_to_send_it(
    tmp_path: Path, sent: str | None, said: str
) -> None:
    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        headers = {} if sent is None else {"content-type": sent}
        path, content = "/v1/models/m/releases", b'{"version": 2}'
        answer = await client.post(path, content=content, headers=headers)
        assert (answer.status_code, problem_in(answer)["code"]) == (415, "not_sent_as_json")
        assert problem_in(answer)["detail"] == (
            f"the body is sent {said}; send it as application/json: curl -H 'content-type: "
            "application/json', or curl --json"
        )
        assert (await rig.newest_release()).version == 1

        headers = {"content-type": "Application/JSON; charset=utf-8"}
        answer = await client.post(path, content=content, headers=headers)
        assert answer.status_code == 202

    ask(tmp_path, story)


def test_each_flaw_of_a_request_is_pointed_at(tmp_path: Path) -> None:
    async def story(_rig: Rig, client: httpx2.AsyncClient) -> None:
        answer = await client.post("/v1/models/m/releases", json={"version": 0})
        (flaw,) = problem_in(answer)["errors"]
        assert flaw == {
            "pointer": "/body/version",
            "detail": "Input should be greater than or equal to 1",
        }
        answer = await client.get("/v1/models?page_size=0&tier=tepid")
        pointers = [flaw["pointer"] for flaw in problem_in(answer)["errors"]]
        assert pointers == ["/query/page_size", "/query/tier"]

    ask(tmp_path, story)


def test_the_id_of_a_request_is_on_answer_audit_and_log(tmp_path: Path) -> None:
    async def story(_rig: Rig, client: httpx2.AsyncClient) -> None:
        trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
        headers = {"x-request-id": "r-1", "traceparent": f"00-{trace_id}-00f067aa0ba902b7-01"}
        with capture_logs() as logs:
            answer = await client.post("/v1/models/c:load", headers=headers)
        assert answer.headers["x-request-id"] == "r-1"
        (entry,) = (await client.get("/v1/audit?event=operation_accepted")).json()["entries"]
        assert (entry["request_id"], entry["detail"]["trace_id"]) == ("r-1", trace_id)
        (line,) = [line for line in logs if line["event"] == "operation_accepted"]
        assert (line["request_id"], line["trace_id"]) == ("r-1", trace_id)

    ask(tmp_path, story)


@pytest.mark.parametrize("given", [None, "", "x" * 129, 'a"b', "a b"])
def test_a_request_without_a_usable_id_gets_one(tmp_path: Path, given: str | None) -> None:
    async def story(_rig: Rig, client: httpx2.AsyncClient) -> None:
        headers = {} if given is None else {"x-request-id": given}
        made = [(await client.get("/livez", headers=headers)).headers["x-request-id"] for _ in "12"]
        assert len(set(made)) == 2
        assert all(len(one) == 32 for one in made)

    ask(tmp_path, story)


@pytest.mark.parametrize(
    "given",
    [
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        f"00-4bf92f3577b34da6a3ce929d0e0e4736-{'0' * 16}-01",
        "4bf92f3577b34da6a3ce929d0e0e4736",
    ],
)
def test_a_traceparent_that_is_none_is_ignored(tmp_path: Path, given: str) -> None:
    async def story(_rig: Rig, client: httpx2.AsyncClient) -> None:
        answer = await client.get("/v1/models/x", headers={"traceparent": given})
        assert "trace_id" not in problem_in(answer)

    ask(tmp_path, story)
