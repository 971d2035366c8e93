"""`pilotlight verify`, up to what only a real server can say."""

import json
from pathlib import Path

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException
from typer.testing import CliRunner

from contract.layout import Store
from contract.manifest import OutputEvidence, Verification
from contract.samples import GoldenSample, Tensors, write_golden
from pilotlight.cli import app
from pilotlight.verifying import LiveServer, ModelFinding, Verdict, verify
from tests.builders import manifest, publish

NOBODY = "127.0.0.1:1"
SEQUENCES = """
sequence_batching {
  control_input { name: "start" control { kind: CONTROL_SEQUENCE_START } }
}
"""


class Doubling(LiveServer):
    """Answers `y = scale * x`; says `refusal` instead where there is one."""

    def __init__(
        self, scale: float = 2.0, *, refusal: InferenceServerException | None = None
    ) -> None:
        super().__init__(NOBODY, timeout_s=1)
        self.scale = scale
        self.refusal = refusal

    def infer(self, model: str, version: int, inputs: Tensors) -> Tensors:
        if self.refusal:
            raise self.refusal
        return {"y": inputs["x"] * np.float32(self.scale)}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "store")
    publish(store, "m", 1)
    publish(store, "m", 2)
    return store


def found(store: Store, server: LiveServer) -> ModelFinding:
    return verify(store, "m", 2, server)


def test_right_answers_pass(store: Store) -> None:
    finding = found(store, Doubling())

    assert (finding.verdict, finding.samples, finding.note) == (Verdict.PASSED, 4, None)
    assert [output.output for output in finding.outputs] == ["y"]


def test_the_worst_answer_is_the_one_that_is_told(store: Store) -> None:
    finding = found(store, Doubling(2.5))

    assert finding.verdict is Verdict.DIFFERS
    (output,) = finding.outputs
    assert output.evidence.scaled_error == pytest.approx(0.25)
    assert output.reason is not None
    assert "is above" in output.reason


def test_an_error_that_is_no_number_is_null_for_programs(store: Store) -> None:
    body = found(store, Doubling(float("nan"))).body()

    assert body["verdict"] == "differs"
    assert body["outputs"][0]["scaled_error"] is None
    json.dumps(body, allow_nan=False)


def test_a_classifier_is_asked_for_its_top_as_the_build_asked_it(store: Store) -> None:
    evidence = OutputEvidence(scaled_error=0, limit=0, top_k=1, same_top=1)
    verification = Verification(reference="float64", cases=1, outputs={"y": evidence})
    files = store.version("m", 2)
    verified = manifest("m", 2).model_copy(update={"verification": verification})
    files.manifest.write_text(verified.model_dump_json())

    (output,) = found(store, Doubling(-2)).outputs

    assert (output.evidence.top_k, output.evidence.same_top) == (1, 0)


def test_what_the_server_says_is_told(store: Store) -> None:
    refusal = InferenceServerException("out of memory", status="StatusCode.INTERNAL")

    finding = found(store, Doubling(refusal=refusal))

    assert (finding.verdict, finding.note) == (Verdict.FAILED, "out of memory")


def test_what_triton_tells_a_model_of_its_sequence_is_not_sent(store: Store) -> None:
    class Strict(Doubling):
        def infer(self, model: str, version: int, inputs: Tensors) -> Tensors:
            assert list(inputs) == ["x"]
            return super().infer(model, version, inputs)

    files = store.version("m", 2)
    files.config.write_text(SEQUENCES)
    one = np.ones((1, 1), np.float32)
    write_golden(files.golden, [GoldenSample({"x": one, "start": one}, {"y": 2 * one})])

    assert found(store, Strict()).verdict is Verdict.PASSED


def test_a_config_that_cannot_be_read_fails_the_model_alone(store: Store) -> None:
    store.version("m", 2).config.write_text("sequence_batching {")

    assert found(store, Doubling()).verdict is Verdict.FAILED


def test_golden_samples_that_cannot_be_read_fail_the_model_alone(store: Store) -> None:
    store.version("m", 2).golden.write_bytes(b"")

    finding = found(store, Doubling())

    assert finding.verdict is Verdict.FAILED
    assert finding.note is not None
    assert "golden.npz cannot be read" in finding.note


def refused(store: Store, *arguments: str, address: str = NOBODY) -> tuple[int, str]:
    command = ["verify", "--server", address, "--store", str(store.root), "--json", *arguments]
    ended = CliRunner().invoke(app, command)
    error = json.loads(ended.stderr)["error"]
    return ended.exit_code, f"{error['code']}: {error['message']}"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["n"], "has no model n;"),
        (["m", "--version", "7"], "m has no version 7 in"),
    ],
)
def test_what_the_store_lacks_is_said_before_anything_is_asked(
    store: Store, arguments: list[str], said: str
) -> None:
    code, told = refused(store, *arguments)

    assert code == 1
    assert said in told


def test_a_store_without_models_is_no_success(tmp_path: Path) -> None:
    code, told = refused(Store(tmp_path))

    assert code == 1
    assert "holds no model" in told


def test_a_server_that_is_not_there_is_told_from_a_wrong_one(store: Store) -> None:
    code, told = refused(store, "m", address=NOBODY)

    assert code == 4
    assert told.startswith(f"unreachable: no answer from {NOBODY}")


def test_a_version_that_is_on_its_way_is_not_loaded_and_its_server_not_lost(store: Store) -> None:
    """As Triton 24.10 says it of a version that is loading, unloading or gone."""
    said = "Request for unknown model: 'm' version 2 is not at ready state"
    refusal = InferenceServerException(said, status="StatusCode.UNAVAILABLE")

    finding = found(store, Doubling(refusal=refusal))

    assert (finding.verdict, finding.note) == (Verdict.NOT_LOADED, said)
