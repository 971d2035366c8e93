"""The generator with real exports of tiny models."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

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
from generator.events import Stage, Unchanged
from tests.e2e import tiny
from tests.e2e.tiny import Workshop, entry

pytestmark = [pytest.mark.build, pytest.mark.timeout(240)]

_ROOT = Path(__file__).parents[2]


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop.at(tmp_path)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """A store that holds one version of one model; not to be changed."""
    workshop = Workshop.at(tmp_path_factory.mktemp("published"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONHASHSEED", "1")
        report = workshop.build(entry(tier="hot"))
    assert not report.failed
    return workshop


@pytest.fixture
def stocked(published: Workshop, tmp_path: Path) -> Workshop:
    """A copy of `published`, to be changed."""
    shutil.copytree(published.folder.parent, tmp_path, symlinks=True, dirs_exist_ok=True)
    return Workshop(tmp_path / "recipe", Store(tmp_path / "store"))


def test_a_model_is_built_once_and_then_unchanged(workshop: Workshop) -> None:
    first = workshop.build(entry())
    again = workshop.build(entry())

    assert [(built.model, built.version) for built in first.built] == [("tiny", 1)]
    assert again.unchanged == (Unchanged("tiny", 1),)
    assert not first.failed + again.failed + again.built
    assert [event.stage for event in workshop.events] == [
        Stage.EXPORT,
        Stage.VERIFY,
        Stage.WAIT,
        Stage.PROBE,
        Stage.PUBLISH,
        Stage.BUILT,
        Stage.UNCHANGED,
    ]


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


def test_changed_source_is_a_new_version_and_changed_back_another(stocked: Workshop) -> None:
    layers = stocked.folder / "layers.py"

    layers.write_text(tiny.LAYERS + "# a remark\n")
    changed = stocked.build(entry())
    layers.write_text(tiny.LAYERS)
    back = stocked.build(entry())

    assert [built.version for built in changed.built + back.built] == [2, 3]
    assert stocked.store.versions("tiny") == (1, 2, 3)
    # The remark is in neither file: what serves is the same.
    one, two = tiny.contents(stocked.version(1).path), tiny.contents(stocked.version(2).path)
    assert one["model.onnx"] == two["model.onnx"]


def test_a_rebuild_elsewhere_is_identical_to_the_byte(
    published: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONHASHSEED", "2")
    elsewhere = Workshop.at(tmp_path / "some/other/folder")
    elsewhere.build(entry())

    found = []
    for workshop in (published, elsewhere):
        files = tiny.contents(workshop.version(1).path)
        files.pop("manifest.json")
        assert str(workshop.folder.parent).encode() not in b"".join(files.values())
        found.append(files)
    assert found[0] == found[1]


def test_a_new_tier_needs_no_build(stocked: Workshop) -> None:
    report = stocked.build(entry(tier="cold"))

    assert report.unchanged == (Unchanged("tiny", 1),)
    assert read_intent(stocked.store.intent("tiny")) == Intent(tier=Tier.COLD)


def test_an_explicit_version_is_built_once_and_never_changed(workshop: Workshop) -> None:
    first = workshop.build(entry(version=7))
    again = workshop.build(entry(version=7))
    before = tiny.contents(workshop.store.root)
    other = workshop.build(entry(version=7, args={"scale": 2.0}))

    assert [built.version for built in first.built] == [7]
    assert again.unchanged == (Unchanged("tiny", 7),)
    assert "tiny version 7 exists and was built from something else" in other.failed[0].reason
    assert "write version: 8" in other.failed[0].reason
    assert tiny.contents(workshop.store.root) == before


def test_weights_are_loaded_and_watched(workshop: Workshop) -> None:
    make = (
        "import sys, torch; sys.path.insert(0, '.'); import tiny\n"
        "for name in sys.argv[1:]: torch.save(tiny.tiny().state_dict(), name)"
    )
    files = ("first.pt", "second.pt")
    subprocess.run([sys.executable, "-c", make, *files], cwd=workshop.folder, check=True)
    for file in files:
        (workshop.folder / file).rename(workshop.folder / "weights.pt")
        workshop.build(entry(weights="weights.pt"))

    one, two = (tiny.contents(workshop.version(number).path) for number in (1, 2))
    assert one["config.pbtxt"] == two["config.pbtxt"]
    assert one["golden.npz"] != two["golden.npz"]


@pytest.fixture(scope="module")
def variants(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """A store with a model of each kind of batching; not to be changed."""
    workshop = Workshop.at(tmp_path_factory.mktemp("variants"))
    batching = {"preferred": [2, 4], "max_queue_delay_us": 100}
    report = workshop.build(
        entry(name="batching", batching=batching, instances=2),
        entry(name="one-by-one", max_batch_size=1),
        entry(
            name="batchless",
            inputs=[{"name": "ids", "dtype": "INT64", "shape": ["rows", 3], "range": [0, 10]}],
            dims={"rows": {"min": 1, "opt": 2, "max": 5}},
            max_batch_size=0,
        ),
    )
    assert not report.failed
    return workshop


@pytest.mark.triton
def test_a_real_triton_warms_serves_and_answers_what_was_built(
    variants: Workshop, start_triton: Callable[..., TritonServer]
) -> None:
    server = start_triton(variants.store.root)

    with tritonclient.grpc.InferenceServerClient(server.grpc_address) as client:
        for model in variants.store.models():
            client.load_model(model)
            files = variants.version(1, model)
            limits = read_manifest(files.manifest).tolerances
            for sample in read_golden(files.golden):
                ids = tritonclient.grpc.InferInput("ids", sample.inputs["ids"].shape, "INT64")
                ids.set_data_from_numpy(sample.inputs["ids"])
                score = client.infer(model, [ids], "1").as_numpy("score")
                (difference,) = compare({"score": score}, sample.outputs, limits)
                assert difference.reason is None


def test_a_model_without_batch_dimension(variants: Workshop) -> None:
    signature = read_manifest(variants.version(1, "batchless").manifest).signature

    assert signature.inputs[0].shape == (-1, 3)
    assert signature.outputs[0].shape == (-1, 2)


REFUSED: Mapping[str, tuple[dict[str, Any], str]] = {
    "no-such-file": (entry() | {"source": "gone:create"}, "there is no gone.py in"),
    "no-such-callable": (entry("tny"), "tiny has no callable 'tny'; did you mean 'tiny'?"),
    "no-such-argument": (
        entry(args={"scael": 2}),
        "raised TypeError: tiny() got an unexpected keyword",
    ),
    "raising": (
        entry("raising"),
        "tiny:raising called with {} raised ValueError: no such weights",
    ),
    "no-module": (entry("number"), "tiny:number returned int, not a torch.nn.Module"),
    "in-training": (
        entry("in_training"),
        "returned a module in training state; call .eval() on it",
    ),
    "no-such-weights": (entry(weights="gone.pt"), "FileNotFoundError"),
    "too-many-outputs": (
        entry("of_two_outputs"),
        "the recipe names 1 outputs (score); return as many tensors",
    ),
    "too-wide-a-range": (
        entry(inputs=[entry()["inputs"][0] | {"range": [0, 11]}]),
        "PyTorch itself fails at ids [1, 1]: IndexError: index out of range",
    ),
    "branching": (
        entry("branching"),
        "line 23, in forward: return summed if summed.sum() > 0 else -summed); rewrite",
    ),
    "of-fixed-batch": (
        entry("of_fixed_batch"),
        "output score has shape [2, -1] in the graph: its first dimension must vary",
    ),
    "crashing": (entry("crashing"), "generator.exporters.onnx was killed by SIGSEGV"),
    "different-when-exported": (
        entry("different_when_exported"),
        "the ONNX model answers otherwise than PyTorch at ids [1, 1]: output score: scaled "
        "error 1.00e-02 is above",
    ),
}


@pytest.fixture(scope="module")
def refusals(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """Why each is not built; one build tries them all, two at a time."""
    workshop = Workshop.at(tmp_path_factory.mktemp("refused"))
    report = workshop.build(*(model | {"name": name} for name, (model, _) in REFUSED.items()))
    assert not report.built
    assert [name for name in REFUSED if workshop.store.model(name).exists()] == []
    return {failure.model: failure.reason for failure in report.failed}


@pytest.mark.parametrize("name", REFUSED)
def test_says_why_a_model_is_not_built(refusals: Mapping[str, str], name: str) -> None:
    _, said = REFUSED[name]

    assert said in refusals[name]


def test_a_config_that_triton_would_refuse_costs_no_export(workshop: Workshop) -> None:
    reason = workshop.refusal(entry(batching={"preferred": [2, 8]}))

    assert "preferred_batch_size 8 is above max_batch_size 4; lower it" in reason
    assert [event.stage for event in workshop.events] == [Stage.FAILED]


def test_one_failing_model_neither_stops_nor_spoils_the_others(workshop: Workshop) -> None:
    report = workshop.build(entry("crashing"), entry(), entry("raising"), entry(name="other"))

    assert [failure.model for failure in report.failed] == ["crashing", "raising"]
    assert [(built.model, built.version) for built in report.built] == [("tiny", 1), ("other", 1)]
    assert list(workshop.store.models()) == ["other", "tiny"]


def test_an_unchanged_build_imports_neither_pytorch_nor_onnx(published: Workshop) -> None:
    code = (
        "import sys; from pathlib import Path; from generator.build import build\n"
        f"report = build(Path({str(published.folder / 'models.yaml')!r}), "
        f"Path({str(published.store.root)!r}), jobs=1, report=lambda event: None)\n"
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

root = Path(sys.argv[1])
small = root / "small"
small.mkdir()
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", small], check=True)
store = shutil.copytree(root / "store", small / "store", symlinks=True)
workshop = tiny.Workshop(root / "recipe", tiny.Store(store))

before = set(store.rglob("*")), tiny.contents(store)
report = workshop.build(
    *(tiny.entry("large", name=name, args={"rows": 1000}) for name in ("new", "tiny"))
)
assert before == (set(store.rglob("*")), tiny.contents(store))
print(*(failure.reason for failure in report.failed), sep="\\n")
assert workshop.build(tiny.entry(args={"scale": 2.0})).built
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
    for reason, model in zip(done.stdout.splitlines(), ("new", "tiny"), strict=True):
        assert reason.startswith(f"{model} could not be published: ")
        assert "No space left on device; 4" in reason
        assert reason.endswith("free some space or choose another store")
