"""What lint says, against a real Triton: an error is refused there, all else loads."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from embedded.process import wait_until
from embedded.provision import Installation
from embedded.triton import TritonServer
from generator.lint.finding import Finding, Severity
from tests.fakes.triton import REST_AFTER_LOAD_S
from tests.fixtures.embedded import StartTriton, running_triton
from tests.unit.generator.lint.test_rules import BAD
from tests.unit.generator.lint.trees import FOLDER, PIPELINE, PYTHON, Tree, found, write

pytestmark = [pytest.mark.triton, pytest.mark.timeout(120)]

MODEL = """
class TritonPythonModel:
    def execute(self, requests):
        return []
"""
TOKENS: Tree = {"tokens/config.pbtxt": PYTHON, "tokens/1/model.py": MODEL}
NOT_READ = "failed to poll from model repository"
REFUSED = {
    "a link in a model to nothing": NOT_READ,
    "a model without version": "at least one version must be available",
    "labels that are not there": "failed to open text file",
    "an unknown field": NOT_READ,
    "another name": NOT_READ,
    "a negative batch size": NOT_READ,
    "a preferred size above the largest": NOT_READ,
    "GPUs for the CPU": "has kind KIND_CPU but specifies one or more GPUs",
    "an input without dims": NOT_READ,
    "a reshape to another size": NOT_READ,
    "a response cache for sequences": NOT_READ,
    "a sample without an input": "expected 1 inputs but got 0",
    "a file that is too short": "expects 48 bytes",
    "a model that is none": "Load model from",
    "an ensemble with instances": NOT_READ,
    "an ensemble of an unknown model": "not available or ambiguous: tokenizer",
    "an ensemble of tensors that do not fit": "inconsistent data type",
}
"""Bad repositories, and what Triton says to the model of the first finding."""
SERVED: dict[str, Tree] = {
    "a good ensemble": PIPELINE,
    "batching without batches": BAD["batching without batches"][0],
    "a number in front, beside its version": {**TOKENS, "tokens/1.old": FOLDER},
}


@pytest.fixture(scope="module")
def server(
    installation: Installation, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TritonServer]:
    folder = tmp_path_factory.mktemp("lint")
    (folder / "repository").mkdir()
    with running_triton(installation, folder / "repository", folder / "triton.log") as server:
        yield server


@pytest.fixture
def client(server: TritonServer) -> Iterator[triton.InferenceServerClient]:
    """Of a server whose repository is empty."""
    for path in server.repository.iterdir():
        shutil.rmtree(path)
    with triton.InferenceServerClient(server.grpc_address) as client:
        yield client
        # Triton can crash when an unload follows a load within some milliseconds.
        time.sleep(REST_AFTER_LOAD_S)
        for path in server.repository.iterdir():
            client.unload_model(path.name)


def with_code(tree: Tree) -> Tree:
    """A Python model needs some."""
    return {path: MODEL if path.endswith("model.py") else content for path, content in tree.items()}


def errors(repository: Path) -> list[Finding]:
    return [each for each in found(repository) if each.rule.severity is Severity.ERROR]


def load_all(client: triton.InferenceServerClient, repository: Path) -> None:
    """What an ensemble is made of comes first."""
    for path in sorted(repository.iterdir(), key=lambda path: path.name == "pipeline"):
        client.load_model(path.name)


@pytest.mark.parametrize("name", REFUSED)
def test_triton_refuses_what_lint_calls_an_error(
    name: str, server: TritonServer, client: triton.InferenceServerClient
) -> None:
    write(server.repository, with_code(BAD[name][0]))
    assert errors(server.repository)

    with pytest.raises(InferenceServerException) as refused:
        load_all(client, server.repository)

    assert REFUSED[name] in str(refused.value)


@pytest.mark.parametrize("name", SERVED)
def test_triton_loads_what_lint_lets_pass(
    name: str, server: TritonServer, client: triton.InferenceServerClient
) -> None:
    write(server.repository, with_code(SERVED[name]))
    assert errors(server.repository) == []

    load_all(client, server.repository)

    assert all(client.is_model_ready(path.name) for path in server.repository.iterdir())


def test_a_version_beyond_64_bits_takes_the_server_down(
    start_triton: StartTriton, tmp_path: Path
) -> None:
    repository = write(tmp_path / "repository", {**TOKENS, "tokens/99999999999999999999": FOLDER})
    assert [each.rule.name for each in errors(repository)] == ["version-overflow"]
    server = start_triton(repository)

    with (
        triton.InferenceServerClient(server.grpc_address) as client,
        pytest.raises(InferenceServerException, match=r"UNAVAILABLE|CANCELLED"),
    ):
        client.load_model("tokens")

    assert wait_until(lambda: not server.is_running, 30)
