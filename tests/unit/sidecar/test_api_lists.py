"""Pages and filters."""

import asyncio
from pathlib import Path
from typing import Any

import httpx2
import pytest

from sidecar.api.paging import Page
from tests.builders import publish
from tests.unit.sidecar.client import ask, problem
from tests.unit.sidecar.rig import Rig


async def pages(
    client: httpx2.AsyncClient, path: str, key: str, *, page_size: int
) -> list[list[dict[str, Any]]]:
    found = []
    parameters: dict[str, str | int] = {"page_size": page_size}
    while True:
        answer = (await client.get(path, params=parameters)).json()
        found.append(answer[key])
        if answer["next_page_token"] is None:
            return found
        parameters["page_token"] = answer["next_page_token"]


def test_models_come_in_pages_by_name(tmp_path: Path) -> None:
    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        for name in ("b", "d", "a"):
            publish(rig.store, name, 1)
        await asyncio.sleep(2)
        found = await pages(client, "/v1/models", "models", page_size=2)
        assert [[model["name"] for model in page] for page in found] == [
            ["a", "b"],
            ["c", "d"],
            ["m"],
        ]

    ask(tmp_path, story)


def test_models_are_filtered_by_name_tier_and_warmth(tmp_path: Path) -> None:
    async def story(_rig: Rig, client: httpx2.AsyncClient) -> None:
        async def named(query: str) -> list[str]:
            answer = await client.get(f"/v1/models?{query}")
            return [model["name"] for model in answer.json()["models"]]

        assert await named("name=m&name=c&name=gone") == ["c", "m"]
        assert await named("name=c&tier=hot") == []
        assert await named("tier=hot") == ["m"]
        assert await named("tier=cold") == ["c"]
        assert await named("warmth=disk") == ["c"]
        assert await named("tier=cold&warmth=warmed") == []
        assert (await problem(client, "/v1/models?tier=tepid", method="GET"))[0] == 422

    ask(tmp_path, story)


def test_operations_are_listed_newest_first_while_they_run_and_afterwards(tmp_path: Path) -> None:
    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        asked = []
        for action in ("c:load", "c:unload", "c:load"):
            asked.append((await client.post(f"/v1/models/{action}")).json()["id"])
            await rig.until(lambda: rig.told().count("operation_ended") == len(asked), "it ends")
        release = await client.post("/v1/models/m/releases", json={"version": 2})
        running = release.json()["id"]

        found = await pages(client, "/v1/operations", "operations", page_size=3)
        assert [[one["id"] for one in page] for page in found] == [
            [running, *reversed(asked[1:])],
            [asked[0]],
        ]
        done = (await client.get("/v1/operations?done=true&model=c")).json()["operations"]
        assert [one["id"] for one in done] == asked[::-1]
        open_ones = (await client.get("/v1/operations?done=false")).json()["operations"]
        assert [one["id"] for one in open_ones] == [running]

    ask(tmp_path, story)


def test_pages_miss_and_repeat_nothing_while_items_come_and_go() -> None:
    items = ["b", "d", "f", "h"]
    first, following = Page(2, None).cut(items, str)
    assert first == ["b", "d"]
    assert following is not None

    items = ["a", "c", "e", "f", "h"]
    assert Page(9, "d").cut(items, str) == (["e", "f", "h"], None)
    assert Page(9, "d").cut(items, str, newest_first=True) == (["c", "a"], None)


def test_a_full_page_is_the_last_one_when_nothing_is_left() -> None:
    assert Page(2, None).cut(["a", "b"], str) == (["a", "b"], None)
    assert Page(2, None).cut([], str) == ([], None)


@pytest.mark.parametrize("token", ["x", "!", "ä", "/w==", "%80"])
@pytest.mark.parametrize("path", ["/v1/models", "/v1/audit", "/v1/operations"])
def test_a_page_token_that_is_none_is_refused(tmp_path: Path, path: str, token: str) -> None:
    async def story(_rig: Rig, client: httpx2.AsyncClient) -> None:
        answer = await problem(client, f"{path}?page_token={token}", method="GET")
        assert answer[:2] == (422, "invalid_page_token")

    ask(tmp_path, story)


def test_a_token_of_another_list_does_not_fit_the_audit(tmp_path: Path) -> None:
    async def story(_rig: Rig, client: httpx2.AsyncClient) -> None:
        token = (await client.get("/v1/models?page_size=1")).json()["next_page_token"]
        answer = await problem(client, f"/v1/audit?page_token={token}", method="GET")
        assert answer[:2] == (422, "invalid_page_token")

    ask(tmp_path, story)
