"""Changes of desired state: nobody's change is lost. A resource as the API's own are made."""

from collections.abc import AsyncIterator

import httpx2
import pytest
from fastapi import FastAPI, Request, Response

from sidecar.api.context import RequestContext
from sidecar.api.preconditions import Conditional, etag
from sidecar.api.problems import add_problem_handlers
from sidecar.errors import UnknownObject
from tests.fakes.state import FakeState
from tests.unit.sidecar.client import client_of, problem_in

PATH = "/wish"


class Between:
    """Writes between a request's look and its own write."""

    def __init__(self) -> None:
        self.write: str | None = None


@pytest.fixture
def state() -> FakeState:
    return FakeState()


@pytest.fixture
def between() -> Between:
    return Between()


@pytest.fixture
async def client(state: FakeState, between: Between) -> AsyncIterator[httpx2.AsyncClient]:
    app = FastAPI()
    app.add_middleware(RequestContext)
    add_problem_handlers(app)

    @app.get(PATH)
    async def get(response: Response) -> str:
        stored = await state.get("wish")
        if stored is None:
            raise UnknownObject("unknown_path", "no wish")
        response.headers["ETag"] = etag(stored)
        return stored.value

    @app.put(PATH)
    async def put(request: Request, response: Response, condition: Conditional) -> None:
        expect = condition.expect(await state.get("wish"))
        if between.write is not None:
            found = await state.get("wish")
            await state.put("wish", between.write, expect=found.revision if found else None)
        value = (await request.body()).decode()
        response.headers["ETag"] = etag(await state.put("wish", value, expect=expect))

    async with client_of(app) as made:
        yield made


async def put(client: httpx2.AsyncClient, value: str, **headers: str) -> httpx2.Response:
    named = {name.replace("_", "-"): given for name, given in headers.items()}
    return await client.put(PATH, content=value, headers=named)


async def value(client: httpx2.AsyncClient) -> str:
    answer: str = (await client.get(PATH)).json()
    return answer


async def test_a_change_that_does_not_say_what_it_was_made_for_is_refused(
    client: httpx2.AsyncClient,
) -> None:
    answer = await put(client, "one")
    assert (answer.status_code, problem_in(answer)["code"]) == (428, "precondition_required")
    assert (await client.get(PATH)).status_code == 404


async def test_an_object_is_made_where_there_is_none_and_then_only_changed(
    client: httpx2.AsyncClient,
) -> None:
    assert (await put(client, "one", if_none_match="*")).status_code == 200

    again = await put(client, "two", if_none_match="*")
    assert (again.status_code, problem_in(again)["code"]) == (412, "stale")
    assert await value(client) == "one"


async def test_the_tag_that_was_read_lets_exactly_one_change_through(
    client: httpx2.AsyncClient,
) -> None:
    await put(client, "one", if_none_match="*")
    tag = (await client.get(PATH)).headers["etag"]

    changed = await put(client, "two", if_match=tag)
    assert changed.status_code == 200
    late = await put(client, "three", if_match=tag)

    assert (late.status_code, problem_in(late)["code"]) == (412, "stale")
    assert await value(client) == "two"
    assert (await client.get(PATH)).headers["etag"] == changed.headers["etag"] != tag


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ("*", 200),
        ('"{}"', 200),
        ('"x", "{}"', 200),
        ('W/"{}"', 412),
        ("{}", 412),
        ('"x"', 412),
        ("", 412),
    ],
)
async def test_tags_are_compared_strongly(
    client: httpx2.AsyncClient, state: FakeState, header: str, status: int
) -> None:
    stored = await state.put("wish", "one", expect=None)
    answer = await put(client, "two", if_match=header.format(stored.revision))
    assert answer.status_code == status


async def test_nothing_matches_what_is_not_there(client: httpx2.AsyncClient) -> None:
    answer = await put(client, "one", if_match="*")
    assert (answer.status_code, problem_in(answer)["code"]) == (412, "stale")


async def test_a_change_that_comes_in_between_is_seen_as_well(
    client: httpx2.AsyncClient, between: Between
) -> None:
    await put(client, "one", if_none_match="*")
    between.write = "theirs"
    answer = await put(client, "ours", if_match="*")
    assert (answer.status_code, problem_in(answer)["code"]) == (412, "stale")
    assert await value(client) == "theirs"
