"""The generator with real exports of tiny models."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import onnxruntime
import pytest
import tritonclient.grpc

from contract.compare import compare
from contract.config import parse_config
from contract.dtypes import Datatype
from contract.intent import Intent, Tier, read_intent
from contract.layout import Store
from contract.manifest import TensorSpec, damaged_files, read_manifest
from contract.samples import read_golden
from embedded.triton import TritonServer
from generator.events import BuildReport, Stage, Unchanged
from tests.e2e import tiny
from tests.e2e.generator.adopted import adopted, write_table
from tests.e2e.tiny import Workshop, entry

pytestmark = [pytest.mark.build, pytest.mark.timeout(600)]

_ROOT = Path(__file__).parents[3]

REFUSED: Mapping[str, str] = {
    "crashing": "generator.exporters.onnx was killed by SIGSEGV",
    "raising": "tiny:raising called with {} raised ValueError: no such weights",
}
"""By whom a stage's refusal comes: the kernel, the author's code. `test_verification` has the
check's, `test_source_refusals` the others."""
# An export takes longer than all the rest: where its output does not matter, a file is adopted.
BATCHING = adopted(
    name="batching", batching={"preferred": [2, 4], "max_queue_delay_us": 100}, instances=2
)
ONE_BY_ONE = adopted(name="one-by-one", max_batch_size=1)
BATCHLESS = entry(
    name="batchless",
    inputs=[{"name": "ids", "dtype": "INT64", "shape": ["rows", 3], "range": [0, 10]}],
    dims={"rows": {"min": 1, "opt": 2, "max": 5}},
    max_batch_size=0,
)


@dataclass(frozen=True)
class First:
    workshop: Workshop
    report: BuildReport


@pytest.fixture(scope="module", autouse=True)
def hash_seed() -> Iterator[None]:
    """The order of sets is the same in all builds but those that change it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONHASHSEED", "1")
        yield


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> First:
    """One build of models of which two are refused; not to be changed."""
    workshop = Workshop.at(tmp_path_factory.mktemp("published"))
    write_table(workshop.folder / "table.onnx")
    report = workshop.build(
        *(entry("crashing"), entry(tier="hot"), BATCHLESS),
        *(entry("raising"), BATCHING, ONE_BY_ONE),
    )
    return First(workshop, report)


@pytest.fixture
def published(first: First) -> Workshop:
    """Holds version 1 of each model; not to be changed."""
    return first.workshop


@pytest.fixture
def stocked(published: Workshop, tmp_path: Path) -> Workshop:
    """A copy of `published`, to be changed."""
    shutil.copytree(published.folder.parent, tmp_path, symlinks=True, dirs_exist_ok=True)
    return Workshop(tmp_path / "recipe", Store(tmp_path / "store"))


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """The model `tiny` in another folder, as version 7; not to be changed."""
    workshop = Workshop.at(tmp_path_factory.mktemp("elsewhere") / "some/other/folder")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONHASHSEED", "2")
        report = workshop.build(entry(version=7))
    assert [built.version for built in report.built] == [7]
    return workshop


def test_a_model_is_built_once_and_then_unchanged(first: First, stocked: Workshop) -> None:
    again = stocked.build(entry(tier="hot"))

    assert [event.stage for event in first.workshop.events if event.model == "tiny"] == [
        Stage.EXPORT,
        Stage.VERIFY,
        Stage.WAIT,
        Stage.PROBE,
        Stage.PUBLISH,
        Stage.BUILT,
    ]
    assert again.unchanged == (Unchanged("tiny", 1),)
    assert not again.failed + again.built
    assert [event.stage for event in stocked.events] == [Stage.UNCHANGED]


def test_models_that_fail_neither_stop_nor_spoil_the_others(first: First) -> None:
    report, store = first.report, first.workshop.store

    assert [failure.model for failure in report.failed] == ["crashing", "raising"]
    assert [(built.model, built.version) for built in report.built] == [
        ("tiny", 1),
        ("batchless", 1),
        ("batching", 1),
        ("one-by-one", 1),
    ]
    assert list(store.models()) == ["batching", "batchless", "one-by-one", "tiny"]
    assert [name for name in REFUSED if store.model(name).exists()] == []


@pytest.mark.parametrize("name", REFUSED)
def test_says_why_a_model_is_not_built(first: First, name: str) -> None:
    (reason,) = (failure.reason for failure in first.report.failed if failure.model == name)

    assert REFUSED[name] in reason


def test_a_version_holds_what_its_manifest_says(published: Workshop) -> None:
    files = published.version(1)
    manifest = read_manifest(files.manifest)

    assert damaged_files(manifest, files.path) == []
    assert set(manifest.files) == set(tiny.contents(files.path)) - {"manifest.json"}
    assert manifest.signature.inputs == (
        TensorSpec(name="ids", datatype=Datatype.INT64, shape=(-1,)),
    )
    assert manifest.signature.outputs == (
        TensorSpec(name="score", datatype=Datatype.FP32, shape=(2,)),
    )
    assert manifest.signature.max_batch_size == 4
    assert set(manifest.sources) == {"tiny.py", "layers.py"}
    assert 1e-5 <= manifest.tolerances["score"] < 1e-4
    assert read_intent(published.store.intent("tiny")) == Intent(tier=Tier.HOT)


def test_the_costs_are_measured(published: Workshop) -> None:
    cost = read_manifest(published.version(1).manifest).cost

    assert cost.load_s > 0
    assert 0 < cost.private_bytes <= cost.peak_bytes
    config = parse_config(published.version(1).config.read_text(), "tiny")
    assert [(shape.batch, shape.runs_until_steady) for shape in cost.shapes] == [
        (sample.batch_size, sample.count) for sample in config.model_warmup
    ]
    assert cost.shapes[0].dims == {"seq": 9}


def test_golden_samples_hold_in_onnx_runtime(published: Workshop) -> None:
    files = published.version(1)
    limits = read_manifest(files.manifest).tolerances
    session = onnxruntime.InferenceSession(
        files.path / "model.onnx", providers=["CPUExecutionProvider"]
    )

    samples = read_golden(files.golden)
    assert 3 <= len(samples) <= 6
    for sample in samples:
        (answer,) = session.run(None, sample.inputs)
        (difference,) = compare({"score": answer}, sample.outputs, limits)
        assert difference.reason is None


def test_a_changed_source_is_a_new_version(stocked: Workshop) -> None:
    (stocked.folder / "layers.py").write_text(tiny.LAYERS + "# a remark\n")

    report = stocked.build(entry())

    assert [built.version for built in report.built] == [2]
    assert stocked.store.versions("tiny") == (1, 2)
    # The remark is in neither file: what serves is the same.
    one, two = (tiny.contents(stocked.version(number).path) for number in (1, 2))
    assert one["model.onnx"] == two["model.onnx"]


def test_a_version_whose_manifest_is_damaged_is_built_again(stocked: Workshop) -> None:
    manifest = stocked.store.version("batching", 1).manifest
    manifest.write_bytes(manifest.read_bytes()[:-10])

    report = stocked.build(BATCHING)

    assert [built.version for built in report.built] == [2]
    assert stocked.build(BATCHING).unchanged == (Unchanged("batching", 2),)


def test_a_rebuild_elsewhere_is_identical_to_the_byte(
    published: Workshop, elsewhere: Workshop
) -> None:
    """But for how often warm-up samples run, which is measured."""
    found = []
    for workshop, version in ((published, 1), (elsewhere, 7)):
        files = tiny.contents(workshop.version(version).path)
        files.pop("manifest.json")
        assert str(workshop.folder.parent).encode() not in b"".join(files.values())
        files["config.pbtxt"] = re.sub(rb"count: \d+", b"count: any", files["config.pbtxt"])
        found.append(files)
    assert found[0] == found[1]


def test_a_new_tier_needs_no_build(stocked: Workshop) -> None:
    report = stocked.build(entry(tier="cold"))

    assert report.unchanged == (Unchanged("tiny", 1),)
    assert read_intent(stocked.store.intent("tiny")) == Intent(tier=Tier.COLD)


def test_an_explicit_version_is_built_once_and_never_changed(elsewhere: Workshop) -> None:
    before = tiny.contents(elsewhere.store.root)

    again = elsewhere.build(entry(version=7))
    other = elsewhere.build(entry(version=7, args={"scale": 2.0}))

    assert again.unchanged == (Unchanged("tiny", 7),)
    assert "tiny version 7 exists and was built from something else" in other.failed[0].reason
    assert "write version: 8" in other.failed[0].reason
    assert tiny.contents(elsewhere.store.root) == before


@pytest.mark.triton
def test_a_real_triton_warms_serves_and_answers_what_was_built(
    published: Workshop, start_triton: Callable[..., TritonServer]
) -> None:
    server = start_triton(published.store.root)

    with tritonclient.grpc.InferenceServerClient(server.grpc_address) as client:
        for model in published.store.models():
            client.load_model(model)
            files = published.version(1, model)
            limits = read_manifest(files.manifest).tolerances
            for sample in read_golden(files.golden):
                ids = tritonclient.grpc.InferInput("ids", sample.inputs["ids"].shape, "INT64")
                ids.set_data_from_numpy(sample.inputs["ids"])
                score = client.infer(model, [ids], "1").as_numpy("score")
                (difference,) = compare({"score": score}, sample.outputs, limits)
                assert difference.reason is None


def test_a_model_without_batch_dimension(published: Workshop) -> None:
    signature = read_manifest(published.version(1, "batchless").manifest).signature

    assert signature.inputs[0].shape == (-1, 3)
    assert signature.outputs[0].shape == (-1, 2)


def test_a_config_that_triton_would_refuse_costs_no_export(tmp_path: Path) -> None:
    workshop = Workshop.at(tmp_path)

    reason = workshop.refusal(entry(batching={"preferred": [2, 8]}))

    assert "preferred_batch_size 8 is above max_batch_size 4; lower it" in reason
    assert [event.stage for event in workshop.events] == [Stage.FAILED]


def test_an_unchanged_build_imports_neither_pytorch_nor_onnx(stocked: Workshop) -> None:
    assert not stocked.build(entry()).failed
    code = (
        "import sys; from pathlib import Path; from generator.build import build\n"
        f"report = build(Path({str(stocked.folder / 'models.yaml')!r}), "
        f"Path({str(stocked.store.root)!r}), jobs=1, report=lambda event: None)\n"
        "assert report.unchanged and not report.failed, report\n"
        "print(*sorted({'torch', 'onnx', 'onnxruntime'} & set(sys.modules)))"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], cwd=_ROOT, capture_output=True, text=True, check=True
    )

    assert done.stdout.split() == []


_ON_A_SMALL_DISK = """
import shutil
import subprocess
import sys
from pathlib import Path

from tests.e2e import tiny
from tests.e2e.generator.adopted import adopted, write_table

root = Path(sys.argv[1])
small = root / "small"
small.mkdir()
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", small], check=True)
store = shutil.copytree(root / "store", small / "store", symlinks=True)
workshop = tiny.Workshop(root / "recipe", tiny.Store(store))
table = workshop.folder / "table.onnx"

before = set(store.rglob("*")), tiny.contents(store)
write_table(table, rows=100_000)
report = workshop.build(*(adopted(name=name) for name in ("new", "batching")))
assert before == (set(store.rglob("*")), tiny.contents(store))
print(*(failure.reason for failure in report.failed), sep="\\n")
write_table(table, scale=2.0)
assert workshop.build(adopted(name="batching")).built
"""


def test_a_full_disk_leaves_the_store_as_it_was(stocked: Workshop) -> None:
    namespace = ["--mount"] if os.geteuid() == 0 else ["--user", "--map-root-user", "--mount"]

    done = subprocess.run(
        ["unshare", *namespace, sys.executable, "-c", _ON_A_SMALL_DISK, stocked.folder.parent],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    for reason, model in zip(done.stdout.splitlines(), ("new", "batching"), strict=True):
        assert reason.startswith(f"{model} could not be published: ")
        assert "No space left on device; 1" in reason
        assert reason.endswith("free some space or choose another store")
