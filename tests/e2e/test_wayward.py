"""Versions that go wrong, released on real servers: each ends where it belongs, and says why."""

import asyncio
import re
import shutil
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from contract.layout import Store
from embedded.process import wait_until
from embedded.provision import Installation
from embedded.triton import TritonServer
from pilotlight.admin import Admin, AdminError, OperationFailed
from pilotlight.demo.clients import Client, GrpcClient, HttpClient, Traffic
from pilotlight.stack import Ports, Stack
from sidecar.core.fleet import Operation, Server
from sidecar.core.release import ReleaseState
from sidecar.core.strategy import Strategy
from sidecar.runtime.releases import Releases
from tests.e2e import wayward
from tests.e2e.conftest import all_served_before
from tests.e2e.inside import Inside, sidecar_on, two_servers
from tests.e2e.wayward import LABELS, NOTES, RANKS

pytestmark = [pytest.mark.triton, pytest.mark.timeout(300)]

RELEASE_S = 120.0
SOAK_S = 1.0
HOUR_S = 3600.0
UNCOMPARED = {"outputs": "any", "latency_margin": None}
"""Of a strategy, where a comparison is not what a test is about."""

Publish = Callable[[Store, int], None]
Body = dict[str, Any]


class Shop:
    """A started stack whose store has all models, and what tests ask of it."""

    def __init__(self, stack: Stack, store: Store, admin: Admin) -> None:
        self.stack = stack
        self.store = store
        self.admin = admin

    def publish(self, version_of: Publish, model: str = LABELS) -> int:
        """The number of the new version."""
        version = wayward.next_number(self.store, model)
        version_of(self.store, version)
        return version

    def release(self, version: int, model: str = LABELS, **strategy: object) -> Body:
        body = {"version": version, "strategy": strategy}
        return self.admin.ask(f"/v1/models/{model}/releases", body)

    def ended(self, operation: Body) -> Body:
        """The release when the operation is over, whatever came of it."""
        try:
            self.admin.wait(operation, RELEASE_S)
        except OperationFailed:
            assert self.admin.get(operation["location"])["done"], self.steps(operation)
        return self.admin.release(operation["release"])

    def steps(self, operation: Body) -> list[Body]:
        steps: list[Body] = self.admin.release(operation["release"])["steps"]
        return steps

    def watched_s(self, operation: Body) -> float:
        return float(self.admin.release(operation["release"])["soak"]["watched_s"])

    def came_to(self, operation: Body, state: str) -> None:
        def has_come() -> bool:
            return self.steps(operation)[-1]["state"] == state

        assert wait_until(has_come, RELEASE_S), self.steps(operation)

    def versions(self) -> list[int]:
        """Of the first model, those in the store, as the sidecar knows it."""
        found: list[int] = self.admin.model(LABELS)["versions"]
        return found

    def serving(self, model: str = LABELS) -> tuple[int, list[int]]:
        found = self.admin.model(model)
        return found["serving_version"], found["ready_versions"]

    @contextmanager
    def unnoticed(self, model: str = LABELS) -> Iterator[None]:
        """Clients are answered throughout, and by no other version than before."""
        before, _ = self.serving(model)
        with self.traffic(model) as traffic:
            yield
            assert wait_until(lambda: bool(traffic.seen), RELEASE_S)
            failed, answered = traffic.failed, traffic.by_version
        assert failed == []
        assert set(answered) == {before}
        assert self.serving(model) == (before, [before])

    def traffic(self, model: str = LABELS) -> Traffic:
        clients: dict[str, Callable[[], Client]] = {
            "grpc": lambda: GrpcClient(self.stack.serving.grpc_address),
            "http": lambda: HttpClient(self.stack.serving.http_port),
        }
        # Two that never rest would leave the releases no processor.
        return Traffic(clients, model, wayward.rows(2), pause_s=0.02)

    def end_all(self) -> None:
        """What a test has left does not hinder the next one."""
        for model in (LABELS, NOTES, RANKS):
            path = self.admin.model(model)["release"]
            if path is not None and self.admin.release(path)["active"]:
                self.admin.ask(f"{path}:abort")
                wait_until(partial(self._is_over, path), RELEASE_S)

    def _is_over(self, path: str) -> bool:
        return not self.admin.release(path)["active"]


@pytest.fixture(scope="module")
def stack_and_store(
    installation: Installation, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shop]:
    root = tmp_path_factory.mktemp("wayward")
    home, store = root / "home", Store(root / "store")
    wayward.first_versions(store)
    with ExitStack() as cleanup:
        stack = Stack(
            installation,
            home=home,
            store=store.root,
            ports=Ports.free(),
            soak_s=SOAK_S,
            on_event=lambda _: None,
        )
        asyncio.run(all_served_before(store, home / "state.sqlite"))
        cleanup.enter_context(stack)
        for server in (stack.serving, stack.canary):
            cleanup.callback(server.kill)
        admin = cleanup.enter_context(Admin(stack.url))
        assert wait_until(lambda: bool(admin.readiness()["ready"]), RELEASE_S), admin.readiness()
        yield Shop(stack, store, admin)


@pytest.fixture
def shop(stack_and_store: Shop) -> Iterator[Shop]:
    yield stack_and_store
    stack_and_store.end_all()


def record(shop: Shop, x: NDArray[np.float32], model: str = LABELS) -> None:
    """As if a client had sent it, and the gateway had kept it."""
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, len(x)], "data": x.tolist()}
    shop.admin.ask(f"/v1/models/{model}/recording/requests", {"inputs": [tensor]})


def ruled(step: Body, ruling: str) -> dict[str, str]:
    """Notes of the checks with this ruling, by check."""
    return {each["check"]: each["note"] for each in step["evidence"] if each["ruling"] == ruling}


def test_a_version_that_was_trained_again_is_promoted_with_evidence_for_each_check(
    shop: Shop,
) -> None:
    version = shop.publish(partial(wayward.trained, seed=1))
    with shop.traffic() as traffic:
        release = shop.ended(shop.release(version))
        failed = traffic.failed
    assert failed == []
    assert release["state"] == "done", release["reason"]
    assert shop.serving() == (version, [version])
    (promoted,) = [step for step in release["steps"] if step["state"] == "promoting"]
    assert ruled(promoted, "fail") == ruled(promoted, "inconclusive") == {}
    assert ruled(promoted, "pass").keys() >= {
        "answers",
        "output: scores",
        "latency: batch 1",
        "latency: batch 8",
        "memory",
    }


def refused(shop: Shop, version: int, model: str = LABELS, **strategy: object) -> Body:
    """The last step of a release that nobody who uses the model noticed."""
    with shop.unnoticed(model):
        release = shop.ended(shop.release(version, model, **strategy))
    assert (release["state"], release["rejected"]) == ("refused", True), release["reason"]
    last: Body = release["steps"][-1]
    return last


def test_a_version_that_is_wrong_on_one_rare_input_is_refused_once_that_was_recorded(
    shop: Shop,
) -> None:
    record(shop, wayward.RARE_X)
    version = shop.publish(wayward.wrong_on_one_input)
    last = refused(shop, version, outputs="equal")
    base, _ = shop.serving()
    assert (
        f"answers are not equal to version {base}'s: output scores: scaled error 2" in last["note"]
    )
    assert list(ruled(last, "fail")) == ["output: scores"]


def test_a_version_whose_large_batches_are_not_numbers_is_refused(shop: Shop) -> None:
    last = refused(shop, shop.publish(wayward.not_a_number_in_large_batches))
    assert "NaN or infinity where the reference has none" in last["note"]
    assert list(ruled(last, "fail")) == ["output: scores"]


def test_a_version_that_is_slower_in_one_batch_size_only_is_refused(shop: Shop) -> None:
    last = refused(shop, shop.publish(wayward.slower_in_batches_of_8))
    base, _ = shop.serving()
    assert f"batch 8: more than 20% slower than version {base} in" in last["note"]
    assert "latency: batch 8" in ruled(last, "fail")
    assert not {"latency: batch 1", "latency: batch 4"} & ruled(last, "fail").keys()


def test_a_faster_version_with_other_labels_is_refused(shop: Shop) -> None:
    last = refused(shop, shop.publish(wayward.fast_with_other_labels))
    assert "scores: the largest element is the same in" in last["note"]
    assert "and must be in 80%" in last["note"]
    assert list(ruled(last, "fail")) == ["output: scores"]


def test_a_ranker_whose_score_is_negated_is_refused(shop: Shop) -> None:
    version = shop.publish(partial(wayward.ranking, sign=-1), RANKS)
    last = refused(shop, version, RANKS)
    assert re.search(
        r"scores: in 0 of \d+ pairs in the same order as version 1's, and must be in 80%",
        last["note"],
    )
    assert list(ruled(last, "fail")) == ["output: scores"]


def test_a_version_that_leaks_memory_is_refused(shop: Shop) -> None:
    # It cannot pass before it was asked all of these: on a slow machine three readings of its
    # memory may lie within a few requests.
    for x in wayward.rows(160)["x"]:
        record(shop, x, NOTES)
    leaking = partial(wayward.python, remembers=True)
    last = refused(shop, shop.publish(leaking, NOTES), NOTES, latency_margin=None)
    assert "steadily: it leaks" in last["note"]
    assert list(ruled(last, "fail")) == ["memory"]


def test_a_version_whose_warm_up_fails_is_refused_and_not_released_again_as_it_is(
    shop: Shop,
) -> None:
    version = shop.publish(wayward.failing_warm_up)
    last = refused(shop, version)
    assert "indices element out of data bounds, idx=100" in last["note"]
    assert shop.stack.canary.is_running
    with pytest.raises(AdminError, match=r"423 version_rejected.*indices element out of data"):
        shop.release(version)


def test_a_version_with_another_signature_is_no_release_at_all(shop: Shop) -> None:
    version = shop.publish(wayward.with_another_signature)
    gone, new = r"output scores FP32\[5\]", r"scores FP32\[6\]"
    with (
        shop.unnoticed(),
        pytest.raises(AdminError, match=f"422 signature_changed.*{gone} -> {new}"),
    ):
        shop.release(version)


def test_a_version_that_is_deleted_in_mid_release_is_refused(shop: Shop) -> None:
    version = shop.publish(partial(wayward.trained, seed=2))
    with shop.unnoticed():
        operation = shop.release(version, approval="manual", **UNCOMPARED)
        shop.came_to(operation, "awaiting")
        folder = shop.store.version(LABELS, version).path
        # First by name: a version that is half deleted is another story.
        shutil.rmtree(folder.rename(folder.with_name(".deleted")))
        release = shop.ended(operation)
    assert (release["state"], release["rejected"]) == ("refused", False)
    assert release["reason"] == f"version {version} is no longer in the store"


def test_a_version_that_vanishes_in_its_soak_serves_on_and_is_watched_when_it_is_back(
    shop: Shop,
) -> None:
    version = shop.publish(partial(wayward.trained, seed=3))
    folder = shop.store.version(LABELS, version).path
    hidden = folder.with_name(".hidden")
    with shop.traffic() as traffic:
        operation = shop.release(version, soak_s=HOUR_S, **UNCOMPARED)
        shop.came_to(operation, "soaking")
        folder.rename(hidden)
        assert wait_until(lambda: version not in shop.versions(), RELEASE_S), "it is noticed"
        since_s = time.monotonic()
        assert wait_until(lambda: time.monotonic() > since_s + 3, RELEASE_S)
        assert shop.steps(operation)[-1]["state"] == "soaking", "nobody could watch it"
        traffic.wait_for(version, since_s=time.monotonic(), timeout_s=RELEASE_S)
        watched_s = shop.watched_s(operation)
        hidden.rename(folder)
        assert wait_until(lambda: shop.watched_s(operation) > watched_s + 1, RELEASE_S)
        shop.admin.ask(f"{operation['release']}:promote")
        release = shop.ended(operation)
        failed = traffic.failed
    assert failed == []
    assert release["state"] == "done", release["reason"]


Servers = Mapping[Server, TritonServer]


@pytest.fixture
def servers(installation: Installation, tmp_path: Path) -> Iterator[Servers]:
    """Of a test that ends one of them, or the world's time; nobody starts them again."""
    with two_servers(installation, tmp_path) as started:
        yield started


@asynccontextmanager
async def released(
    servers: Servers, folder: Path, begin: Callable[[], None] = lambda: None, soak_s: float = SOAK_S
) -> AsyncIterator[tuple[Inside, Operation]]:
    """A sidecar in this process, and its release of a good version 2 that `begin` came before."""
    store, state = Store(folder / "store"), folder / "state.sqlite"
    wayward.first_versions(store)
    await all_served_before(store, state)
    wayward.trained(store, 2, seed=1)
    async with sidecar_on(servers, store, state, soak_s=soak_s) as inside:
        await inside.ready()
        begin()
        releases = Releases(inside.world, inside.requests)
        strategy = Strategy.model_validate(UNCOMPARED)
        yield inside, await releases.begin(LABELS, 2, actor="ann", strategy=strategy)


def is_told(inside: Inside) -> bool:
    problem = inside.seen.servers[Server.CANARY].problem
    return problem is not None and "no answer from canary server" in problem


def is_in(inside: Inside, state: ReleaseState) -> bool:
    found = inside.seen.releases.get(LABELS)
    return found is not None and found.state is state


async def test_a_canary_that_cannot_be_reached_keeps_a_release_waiting_until_it_is_back(
    servers: Servers, tmp_path: Path
) -> None:
    canary = servers[Server.CANARY]
    async with released(servers, tmp_path, canary.kill) as (inside, operation):
        waits = partial(is_in, inside, ReleaseState.CANARY_LOADING)
        await inside.until(waits, "the release waits")
        # Not at each look: where the machine is busy, it has only been silent for too long.
        await inside.until(partial(is_told, inside), "it is told why")
        until_s = time.monotonic() + 3
        await inside.until(lambda: time.monotonic() > until_s, "it goes on looking")
        assert waits()
        canary.start()
        assert (await inside.ended(operation)).error is None


class SteeredClock:
    """The module `time` with a wall clock that can be set, as somebody sets a machine's.

    Only the sidecar is given it: gRPC asks Python's clock for its deadlines, and the machine's,
    which stays, whether they are over.
    """

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def time(self) -> float:
        return time.time() + self.ahead_s

    def __getattr__(self, name: str) -> object:
        return getattr(time, name)

    def steer(self, patch: pytest.MonkeyPatch) -> None:
        for name, module in list(sys.modules.items()):
            if name.startswith("sidecar.") and getattr(module, "time", None) is time:
                patch.setattr(module, "time", self)


@pytest.mark.parametrize("jump_s", [HOUR_S, -HOUR_S], ids=["forwards", "backwards"])
async def test_a_clock_that_jumps_neither_ends_a_soak_nor_prolongs_it(
    servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump_s: float
) -> None:
    clock, soak_s = SteeredClock(), 3.0
    clock.steer(monkeypatch)
    async with released(servers, tmp_path, soak_s=soak_s) as (inside, operation):
        began_s = time.monotonic()

        def soaks() -> bool:
            nonlocal began_s
            is_soaking = is_in(inside, ReleaseState.SOAKING)
            # At the last look it did not yet: the soak may be noticed late.
            began_s = began_s if is_soaking else time.monotonic()
            return is_soaking

        await inside.until(soaks, "it soaks")
        clock.ahead_s = jump_s
        assert (await inside.ended(operation)).error is None
        took_s = time.monotonic() - began_s
    assert took_s > soak_s - 1
