"""Trains over REST."""

from pathlib import Path

import httpx2

from tests.builders import publish
from tests.unit.sidecar.client import ask, problem
from tests.unit.sidecar.rig import Rig

QUICK = {"outputs": "any", "latency_margin": None}


async def ended(rig: Rig, client: httpx2.AsyncClient, location: str) -> dict[str, object]:
    key = location.removeprefix("/v1/trains/")
    await rig.until(lambda: f"archive/train/{key}" in rig.state.objects, "the train ends")
    found: dict[str, object] = (await client.get(location)).json()
    return found


def test_a_train_is_begun_followed_and_listed(tmp_path: Path) -> None:
    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        answer = await client.post("/v1/trains", json={"strategy": QUICK, "at_once": 2})
        begun = answer.json()
        assert (answer.status_code, answer.headers["location"]) == (202, begun["location"])
        assert (begun["actor"], begun["done"], begun["at_once"]) == ("api", False, 2)
        assert begun["cars"] == [
            {
                "model": "m",
                "version": 2,
                "base": 1,
                "state": "waiting",
                "release": None,
                "note": None,
            }
        ]

        found = await ended(rig, client, begun["location"])

        assert (found["done"], found["stopped"]) == (True, None)
        (car,) = found["cars"]  # type: ignore[misc]
        assert (car["state"], car["note"]) == ("done", "version 2 serves alone")
        release = (await client.get(car["release"])).json()
        assert (release["state"], release["actor"]) == ("done", "api")
        assert (await client.get("/v1/trains")).json()["trains"] == [found]
        assert (await client.get("/v1/trains?done=false")).json()["trains"] == []

    ask(tmp_path, story)


def test_what_can_be_refused_is(tmp_path: Path) -> None:
    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        status, code, detail = await problem(client, "/v1/trains", {"models": ["c"]})
        assert (status, code) == (409, "nothing_pending")
        assert "c has never served" in detail
        assert detail.endswith("--unserved")
        assert (await problem(client, "/v1/trains", {"models": ["x"]}))[:2] == (
            404,
            "unknown_model",
        )
        assert (await problem(client, "/v1/trains", {"models": []}))[:2] == (422, "invalid_request")
        assert (await problem(client, "/v1/trains", {"at_once": 0}))[:2] == (422, "invalid_request")
        assert (await problem(client, "/v1/trains", {"strategy": {"shift": [5]}}))[:2] == (
            409,
            "no_gateway",
        )
        assert (await problem(client, "/v1/trains/x", method="GET"))[:2] == (404, "unknown_train")
        assert (await problem(client, "/v1/trains/x:stop"))[:2] == (404, "unknown_train")

        begun = (await client.post("/v1/trains", json={"strategy": QUICK})).json()
        await ended(rig, client, begun["location"])
        assert (await problem(client, f"{begun['location']}:stop"))[:2] == (409, "train_over")

    ask(tmp_path, story)


def test_a_train_is_stopped(tmp_path: Path) -> None:
    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        await client.post("/v1/models/c:load")
        await rig.until(lambda: "serving/c" in rig.state.objects, "c has served")
        publish(rig.store, "c", 2)
        begun = (await client.post("/v1/trains", json={"strategy": QUICK})).json()
        assert [car["model"] for car in begun["cars"]] == ["c", "m"]

        stopped = (await client.post(f"{begun['location']}:stop")).json()
        assert stopped["stopped"] == "api asked for it"
        found = await ended(rig, client, begun["location"])

        assert found["stopped"] == stopped["stopped"]
        assert await rig.recorded("m") == 1

    ask(tmp_path, story)


def test_what_has_never_served_is_taken_where_that_is_said(tmp_path: Path) -> None:
    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        asked = {"strategy": QUICK, "models": ["c"], "unserved": True}
        begun = (await client.post("/v1/trains", json=asked)).json()
        assert [(car["model"], car["version"], car["base"]) for car in begun["cars"]] == [
            ("c", 1, None)
        ]

        found = await ended(rig, client, begun["location"])

        (car,) = found["cars"]  # type: ignore[misc]
        said = "version 1 is recorded; the model is not loaded"
        assert (car["state"], car["note"]) == ("done", said)
        assert (await client.get("/v1/models/c")).json()["serving_version"] == 1
        again = await problem(client, "/v1/trains", {"models": ["c"], "unserved": True})
        assert again[1:] == (
            "nothing_pending",
            "nothing to release: c serves version 1, and the store has none that is newer",
        )

    ask(tmp_path, story)


def test_a_train_of_all_takes_both_kinds(tmp_path: Path) -> None:
    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        begun = (await client.post("/v1/trains", json={"strategy": QUICK, "unserved": True})).json()
        assert [(car["model"], car["base"]) for car in begun["cars"]] == [("c", None), ("m", 1)]
        await ended(rig, client, begun["location"])

        _, code, detail = await problem(client, "/v1/trains", {"unserved": True})
        assert code == "nothing_pending"
        assert "each has served, and no model has a newer version that" in detail

    ask(tmp_path, story)


def test_a_train_that_is_sent_twice_is_begun_once(tmp_path: Path) -> None:
    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        body, key = {"strategy": QUICK}, {"Idempotency-Key": "k"}
        one = await client.post("/v1/trains", json=body, headers=key)
        again = await client.post("/v1/trains", json=body, headers=key)

        assert again.json() == one.json()
        assert len([name for name in rig.state.objects if name.startswith("train/")]) == 1

    ask(tmp_path, story)
