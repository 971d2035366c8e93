"""What is built for a GPU, in a Triton that serves the store of `conftest`.

It runs where its address is given: `make test-gpu PILOTLIGHT_TRITON=localhost:8001`.
"""

import os

import pytest
from tritonclient.grpc import InferenceServerClient

from contract.layout import Store
from pilotlight.verifying import LiveServer, Verdict, verify
from tests.gpu.conftest import FORMATS

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(1800)]


@pytest.mark.parametrize("model", FORMATS)
def test_triton_loads_it_and_answers(store: Store, model: str) -> None:
    address = os.environ["PILOTLIGHT_TRITON"]
    InferenceServerClient(address).load_model(model)

    found = verify(store, model, store.versions(model)[-1], LiveServer(address, timeout_s=60))

    assert found.verdict is Verdict.PASSED, found
