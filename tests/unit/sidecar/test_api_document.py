"""The OpenAPI document, and that answers are as it says."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import APIOperation, Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from sidecar.api.problems import CODES, problem_type
from tests.unit.sidecar.client import ask
from tests.unit.sidecar.rig import Rig
from tests.unit.sidecar.test_api_traffic import ask as ask_at_gateway

GUARDED = "/v1"
# A stream does not end, and what its lines are is no schema's matter.
STREAMS = ["/v1/events", "/v1/releases/{release_id}/stream"]
EXAMPLES = 10
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    found: dict[str, Any] = {}

    async def story(_rig: Rig, client: httpx2.AsyncClient) -> None:
        found.update((await client.get("/openapi.json")).json())

    ask(tmp_path_factory.mktemp("document"), story, started=False)
    return found


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield path, method, operation


def test_the_document_lists_every_call(document: dict[str, Any]) -> None:
    assert {f"{method.upper()} {path}" for path, method, _ in operations(document)} == {
        "GET /livez",
        "GET /readyz",
        "GET /startupz",
        "GET /metrics",
        "GET /v1/caller",
        "GET /v1/models",
        "GET /v1/models/{model}",
        "GET /v1/models/{model}:explain",
        "GET /v1/models/{model}/spec",
        "PATCH /v1/models/{model}/spec",
        "POST /v1/models/{model}:load",
        "POST /v1/models/{model}:unload",
        "POST /v1/models/{model}:ensure",
        "POST /v1/models/{model}:unquarantine",
        "POST /v1/models/{model}/releases",
        "POST /v1/models/{model}:rollback",
        "GET /v1/models/{model}/traffic",
        "PUT /v1/models/{model}/traffic",
        "DELETE /v1/models/{model}/traffic",
        "GET /v1/models/{model}/recording",
        "PUT /v1/models/{model}/recording",
        "DELETE /v1/models/{model}/recording",
        "POST /v1/models/{model}/recording/requests",
        "GET /v1/gateway",
        "GET /v1/replica",
        "GET /v1/devices",
        "GET /v1/plans",
        "POST /v1/plans",
        "GET /v1/policy",
        "GET /v1/control",
        "POST /v1:pause",
        "POST /v1:resume",
        "POST /v1:drain",
        "GET /v1/operations",
        "GET /v1/operations/{operation_id}",
        "GET /v1/releases",
        "GET /v1/releases/{release_id}",
        "GET /v1/releases/{release_id}/evidence",
        "GET /v1/releases/{release_id}/stream",
        "POST /v1/trains",
        "GET /v1/trains",
        "GET /v1/trains/{train_id}",
        "POST /v1/trains/{train_id}:stop",
        "POST /v1/releases/{release_id}:promote",
        "POST /v1/releases/{release_id}:pause",
        "POST /v1/releases/{release_id}:resume",
        "POST /v1/releases/{release_id}:abort",
        "POST /v1/releases/{release_id}:rollback",
        "DELETE /v1/models/{model}/versions/{version}/rejection",
        "GET /v1/events",
        "GET /v1/audit",
    }


def test_every_call_has_a_summary_a_tag_and_the_role_it_needs(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        assert operation["summary"], path
        assert len(operation["tags"]) == 1, path
        role = "viewer" if method == "get" else "operator"
        expected = [{"bearer": [role]}] if path.startswith(GUARDED) else None
        assert operation.get("security") == expected, path
    assert document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"


def test_every_guarded_call_says_how_it_can_be_refused(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        if not path.startswith(GUARDED):
            continue
        assert {"400", "401", "403", "422", "500", "503"} <= set(operation["responses"]), path
        for status, response in operation["responses"].items():
            if status >= "400":
                assert list(response["content"]) == ["application/problem+json"], (path, status)
                assert response["description"], (path, status)
        names = {parameter["name"] for parameter in operation.get("parameters", [])}
        assert ("Idempotency-Key" in names) == (method == "post"), path


def test_the_document_shows_every_problem_code(document: dict[str, Any]) -> None:
    assert document["x-problem-codes"] == [
        {"code": code, "type": problem_type(code), "status": kind.status, "title": kind.title}
        for code, kind in CODES.items()
    ]
    assert document["components"]["schemas"]["Problem"]["properties"]["code"]["enum"] == sorted(
        CODES
    )


@pytest.mark.timeout(300)
def test_whatever_is_sent_the_answer_is_as_the_document_says(
    tmp_path: Path, document: dict[str, Any]
) -> None:
    """Valid and invalid requests, to objects that are there and to others."""
    schema = schemathesis.openapi.from_dict(document).exclude(path=STREAMS)
    there = {"model": "m", "version": 2, "operation_id": "", "release_id": "", "train_id": ""}

    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        begun = (await client.post("/v1/models/m/releases", json={"version": 2})).json()
        there["operation_id"], there["release_id"] = begun["id"], begun["release"].split("/")[-1]
        train = (await client.post("/v1/trains", json={})).json()
        there["train_id"] = train["id"]
        operations = [result.ok() for result in schema.get_all_operations()]
        for case in [case for operation in operations for case in cases(operation, there)]:
            request = requests.Request(
                **case.as_transport_kwargs("http://localhost:8080")
            ).prepare()
            answer = await client.request(
                str(request.method), str(request.url), headers=request.headers, content=request.body
            )
            case.validate_response(answer, checks=CHECKS)

    ask_at_gateway(tmp_path, story)


def cases(operation: APIOperation, there: dict[str, str | int]) -> list[Case]:
    """The same ones in each run."""
    named = {parameter.name: there[parameter.name] for parameter in operation.path_parameters}
    found: list[Case] = []
    for mode in GenerationMode:
        for path in [None, named] if named else [None]:
            strategy = operation.as_strategy(mode, path_parameters=path)

            @settings(
                max_examples=EXAMPLES,
                derandomize=True,
                database=None,
                deadline=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(case=strategy)
            def collect(case: Case) -> None:
                found.append(case)

            # Nothing about some calls can be invalid.
            with suppress(Unsatisfiable):
                collect()
    return found
