"""One Docker engine with our images, and one running product on it."""

import os
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from embedded.ports import free_ports
from tests.compose import doubling
from tests.compose.product import ROOT, Product

# Making the base image and building ours, the first time.
_FIRST_BUILD_S = 600


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whichever test comes first pays for the engine, the images and the start."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.docker)
            item.add_marker(pytest.mark.timeout(_FIRST_BUILD_S))


@pytest.fixture(scope="session")
def engine() -> Iterator[dict[str, str]]:
    """The environment in which `docker` finds our images."""
    script = ROOT / "tests/compose/engine"
    host = subprocess.run([script], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    # Debian's client belongs to its engine; another one may come earlier.
    environment = os.environ | {"PATH": f"/usr/bin:{os.environ['PATH']}"}
    yield environment | ({"DOCKER_HOST": host} if host else {})
    subprocess.run([script, "stop"], check=True)


@pytest.fixture(scope="session")
def settings(engine: dict[str, str]) -> dict[str, str]:
    """A compose project and ports that nobody else has."""
    http, grpc, api = map(str, free_ports(3))
    return engine | {
        "COMPOSE_PROJECT_NAME": f"pilotlight-{uuid.uuid4().hex[:8]}",
        "HTTP_PORT": http,
        "GRPC_PORT": grpc,
        "API_PORT": api,
    }


@pytest.fixture(scope="session")
def said(product: Product) -> str:
    """What the first `make up` printed."""
    return (product.folder / "said").read_text()


@pytest.fixture(scope="session")
def product(
    settings: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Product]:
    """After a first `make up EMBEDDED=1`, ready; taken down at the end, when nothing may stay."""
    product = Product(tmp_path_factory.mktemp("product"), settings)
    doubling.publish(product.store, "hot", tier="hot")
    doubling.publish(product.store, "cold")
    doubling.publish(product.store, "released", tier="hot")
    try:
        said = product.run("make", "up", "EMBEDDED=1")
        (product.folder / "said").write_text(said)
        product.wait_until_ready()
        yield product
    finally:
        product.run("make", "down")
        product.compose("down", "--volumes")
    assert not product.remains()
