"""A train of models that have never served, on real servers: y = 2 x, and chained once more."""

from pathlib import Path

import pytest

from contract.layout import Store
from embedded.provision import Installation
from sidecar.core.events import Event
from sidecar.core.train import CarState, Train
from sidecar.runtime.trains import Trains
from tests.builders import request
from tests.chains import publish_chain
from tests.e2e.inside import SERVING, Inside, ask, client_of, publish, sidecar_on, two_servers
from tests.eventually import eventually

pytestmark = [pytest.mark.triton, pytest.mark.timeout(300)]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Four models, one of which cannot be loaded, and two ensembles; all of them cold."""
    store = Store(tmp_path / "store")
    for name in ("first", "second", "alone"):
        publish(store, name, held_mib=1, tier="cold")
    publish(store, "broken", held_mib=1, tier="cold", initialize="raise ValueError('no weights')")
    publish_chain(store, "chain", {"first": 1, "second": 1})
    publish_chain(store, "a_chain_of_broken", {"broken": 1, "second": 1})
    return store


async def ended(inside: Inside, train: Train) -> Train:
    trains = Trains(inside.world)

    async def is_over() -> bool:
        return (await trains.get(train.id)).is_over

    await eventually(is_over, "the train ends", 200)
    return await trains.get(train.id)


async def moves(inside: Inside) -> list[Event]:
    """Steps of releases, and loads on canary."""
    found = await inside.events("release_moved", "model_loaded", "load_failed")
    return [each for each in found if each.server != SERVING]


async def test_what_a_train_has_proven_waits_for_a_load_alone_at_its_first_request(
    installation: Installation, store: Store, tmp_path: Path
) -> None:
    with two_servers(installation, tmp_path) as servers:
        async with (
            sidecar_on(servers, store, tmp_path / "state.sqlite") as inside,
            client_of(servers[SERVING]) as client,
        ):
            begun = await Trains(inside.world).begin(actor="ann", unserved=True)
            train = await ended(inside, begun)
            await inside.at_rest()
            on_serving = await client.index()
            before = await moves(inside)

            await inside.requests.ensure("alone", timeout_s=60)
            await ask(client, "alone")
            await inside.requests.ensure("chain", timeout_s=60)
            answer = await client.infer("chain", 1, request(1.0, 3.0), timeout_s=60.0)
            await inside.at_rest()
            after = await moves(inside)
            recorded = await inside.world.records.serving()

    assert [(car.model, car.state) for car in train.cars] == [
        ("alone", CarState.DONE),
        ("broken", CarState.FAILED),
        ("first", CarState.DONE),
        ("second", CarState.DONE),
        ("a_chain_of_broken", CarState.SKIPPED),
        ("chain", CarState.DONE),
    ]
    assert train.stopped is None
    notes = {car.model: car.note or "" for car in train.cars}
    assert notes["alone"] == "version 1 is recorded; the model is not loaded"
    assert "no weights" in notes["broken"]
    assert notes["a_chain_of_broken"].startswith("broken, a model of its steps, has not served: ")
    assert recorded == {"alone": 1, "first": 1, "second": 1, "chain": 1}
    assert not any(on_serving.values())
    assert answer["y"].tolist() == [[4.0, 12.0]]
    assert after == before
