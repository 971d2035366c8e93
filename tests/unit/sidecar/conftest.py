"""An activator for the tests of each protocol."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from sidecar.activator.serve import Activator
from tests.unit.sidecar.activated import HandHold, activated


@pytest.fixture(scope="module")
def shared_hold() -> HandHold:
    return HandHold()


@pytest.fixture
def hold(shared_hold: HandHold) -> HandHold:
    """Of the activator, as if it were new."""
    shared_hold.begin_anew()
    return shared_hold


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def activator(shared_hold: HandHold) -> AsyncIterator[Activator]:
    """One for a module: a server takes a while to stop."""
    async with activated(shared_hold) as activator:
        yield activator
