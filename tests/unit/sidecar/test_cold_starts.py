"""Loads that a request waited for, as the audit tells them."""

import asyncio
from pathlib import Path

import httpx2
import pytest

from sidecar.api import cold_starts
from sidecar.api.cold_starts import AuditedColdStarts
from sidecar.core.cold_starts import COUNTED_S, ColdStarts, with_event
from sidecar.core.events import Event, EventName
from tests.builders import NOW_S
from tests.fakes.state import FakeState
from tests.unit.sidecar.client import ask
from tests.unit.sidecar.rig import Rig


def kept(model: str = "m", *, waited_for: bool = True) -> Event:
    detail = {"reason": "as it is", "waited_for": waited_for}
    return Event(name=EventName.MODEL_KEPT, model=model, detail=detail)


def loaded(server: str = "serving") -> Event:
    return Event(name=EventName.MODEL_LOADED, model="m", server=server)


def told(*happened: tuple[float, Event]) -> ColdStarts | None:
    known = None
    for at_s, event in happened:
        known = with_event(known, event, at_s)
    return known


def test_it_lasts_until_the_model_is_loaded_where_it_serves() -> None:
    assert told((10.0, kept())) == ColdStarts(began_s=(10.0,), last_wait_s=None)
    found = told((10.0, kept()), (11.0, loaded("canary")), (12.5, loaded()), (99.0, loaded()))
    assert found == ColdStarts(began_s=(10.0,), last_wait_s=2.5)


def test_what_nobody_waited_for_is_none() -> None:
    assert told((1.0, kept(waited_for=False)), (2.0, loaded())) is None


def test_only_those_of_the_last_day_count() -> None:
    found = told((0.0, kept()), (1.0, loaded()), (COUNTED_S - 5, kept()))
    assert found is not None
    assert found.counted(COUNTED_S - 1) == 2
    assert found.counted(COUNTED_S + 1) == 1


async def test_each_entry_is_read_once_in_whatever_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cold_starts, "BATCH", 2)
    journal = FakeState()
    audited = AuditedColdStarts(journal)
    for at in range(5):
        await journal.append(kept(), NOW_S + at)
    both = await asyncio.gather(audited.by_model(NOW_S), audited.by_model(NOW_S))
    assert [found["m"].counted(NOW_S) for found in both] == [5, 5]
    await journal.append(kept(model="c"), NOW_S + 9)
    assert {m: f.counted(NOW_S) for m, f in (await audited.by_model(NOW_S)).items()} == {
        "m": 5,
        "c": 1,
    }


async def test_an_audit_that_cannot_be_read_leaves_what_was_known() -> None:
    journal = FakeState()
    audited = AuditedColdStarts(journal)
    await journal.append(kept(), NOW_S)
    await audited.by_model(NOW_S)
    journal.problem = "disk I/O error"
    assert (await audited.by_model(NOW_S))["m"].counted(NOW_S) == 1


def test_a_first_request_is_a_cold_start_and_a_load_by_hand_is_none(tmp_path: Path) -> None:
    async def story(_rig: Rig, client: httpx2.AsyncClient) -> None:
        assert (await client.get("/v1/models/c")).json()["cold_starts"] == 0
        waited_s = (await client.post("/v1/models/c:ensure")).json()["waited_s"]
        for body in (
            (await client.get("/v1/models/c")).json(),
            (await client.get("/v1/models/c:explain")).json()["model"],
        ):
            assert body["cold_starts"] == 1
            assert body["last_cold_start_at"] is not None
            assert 0 < body["last_cold_start_s"] <= waited_s + 1
        assert (await client.get("/v1/models/m")).json()["cold_starts"] == 0

    ask(tmp_path, story)
