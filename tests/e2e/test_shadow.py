"""Releases where there is one Triton only: versions are proven on it, as shadows."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx2
import pytest

from contract.config import parse_config
from contract.layout import CONFIG, Store
from embedded.process import wait_until
from embedded.provision import Installation
from pilotlight.admin import Admin, OperationFailed
from pilotlight.demo.shelf import GOOD, SUBTLY_WRONG, Shelf
from pilotlight.stack import Ports, Stack
from tests.e2e.conftest import SOAK_S, Running, all_served_before

pytestmark = [pytest.mark.triton, pytest.mark.timeout(300)]

RELEASE_S = 120.0
ENDS = {"done", "refused", "rolled_back"}
HOT = "short_form"


class OneTriton(Running):
    """With a gateway before it, and no canary beside it."""

    @property
    def staged(self) -> set[str]:
        return {path.name for path in self.stack.serving.repository.iterdir()}

    def shadow(self, version: int) -> str:
        return f"{HOT}--v{version}"

    def is_over(self, operation: dict[str, object]) -> bool:
        """Whether a release has ended, and nothing of its shadow is left."""
        ended = self.admin.release(str(operation["release"]))["steps"][-1]["state"] in ENDS
        return ended and self.staged == {HOT}

    def status(self, address: str, model: str) -> int:
        """What a client is told who asks for a model's metadata."""
        return httpx2.get(f"http://{address}/v2/models/{model}", timeout=RELEASE_S).status_code


@pytest.fixture
def one(
    installation: Installation, envoy_binary: Path, example_store: Path, tmp_path: Path
) -> Iterator[OneTriton]:
    home, shelf = tmp_path / "home", Shelf(Store(example_store), tmp_path / "store", (HOT,))
    with ExitStack() as cleanup:
        stack = Stack(
            installation,
            home=home,
            store=shelf.store.root,
            ports=Ports.free(),
            soak_s=SOAK_S,
            on_event=lambda _: None,
            envoy=envoy_binary,
            with_canary=False,
        )
        asyncio.run(all_served_before(shelf.store, home / "state.sqlite"))
        cleanup.enter_context(stack)
        # Else Triton takes three seconds to end.
        cleanup.callback(stack.serving.kill)
        found = OneTriton(stack, shelf, cleanup.enter_context(Admin(stack.url)))
        found.wait_until_ready()
        yield found


def test_a_good_version_is_proven_as_a_shadow_that_no_client_of_the_gateway_meets(
    one: OneTriton,
) -> None:
    one.shelf.publish(HOT, GOOD)
    shadow = one.shadow(GOOD)
    told: set[tuple[int, int]] = set()
    configs: set[str] = set()

    def look() -> None:
        with suppress(FileNotFoundError):
            configs.add((one.stack.serving.repository / shadow / CONFIG).read_text())
        addresses = f"127.0.0.1:{one.stack.serving.http_port}", one.stack.http_address
        told.add((one.status(addresses[0], shadow), one.status(addresses[1], shadow)))

    def is_seen() -> bool:
        look()
        return (200, 404) in told and bool(configs)

    def is_over() -> bool:
        look()
        return one.is_over(operation)

    with one.traffic() as traffic:
        one.meets(traffic, 1)
        operation = one.release(GOOD, approval="manual")
        assert wait_until(is_seen, RELEASE_S), one.admin.release(str(operation["release"]))
        one.wait_for_state(operation, "awaiting")
        one.admin.ask(f"{operation['release']}:promote")
        assert wait_until(is_over, RELEASE_S), one.admin.release(str(operation["release"]))
        one.admin.wait(operation, RELEASE_S)
        one.meets(traffic, GOOD)
        failed = traffic.failed

    assert failed == []
    assert one.answering_version() == GOOD
    assert {by_gateway for _, by_gateway in told} == {404}
    assert [config for config in configs if parse_config(config, shadow).model_warmup] == []
    steps = one.admin.release(str(operation["release"]))["steps"]
    assert any("shares its server" in step["note"] for step in steps)


def test_a_wrong_version_is_refused_as_a_shadow_and_its_model_does_not_notice(
    one: OneTriton,
) -> None:
    one.shelf.publish(HOT, SUBTLY_WRONG)
    with one.traffic() as traffic:
        one.meets(traffic, 1)
        operation = one.release(SUBTLY_WRONG)
        with pytest.raises(OperationFailed, match="golden sample wrongly: output score"):
            one.admin.wait(operation, RELEASE_S)
        assert wait_until(lambda: one.is_over(operation), RELEASE_S), one.staged
        failed, answered = traffic.failed, traffic.by_version

    assert failed == []
    assert set(answered) == {1}
    model = one.admin.model(HOT)
    assert (model["serving_version"], model["ready_versions"]) == (1, [1])
