"""What a source is refused for, caused for real; in one process, for PyTorch takes long to come."""

import io
import json
import pickle
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import save_file

from tests.e2e import tiny
from tests.e2e.generator import authored
from tests.e2e.generator.authored import PROGRAM, RANKER, refusal

# PyTorch's exporter warns of itself.
pytestmark = [pytest.mark.build, pytest.mark.timeout(240), pytest.mark.filterwarnings("ignore")]

MODULES = """
import torch
from torch import nn


class Of(nn.Module):
    def __init__(self, what):
        super().__init__()
        self.what = what
        self.out = nn.Linear(3, 2)

    def forward(self, x):
        y = self.out(x)
        match self.what:
            case "unsupported":
                return torch.linalg.svdvals(y[:, :, None] * y[:, None, :])
            case "branching":
                return y if y.sum() > 0 else -y
            case "complex":
                return torch.complex(y, y)
            case "bfloat16":
                return y.bfloat16()
            case "chance":
                return nn.functional.dropout(y, training=True)
            case "nan":
                return torch.log(y)
            case "scalar":
                return y.sum()
            case "nested":
                return y, (y, y)
            case "dict":
                return {"scores": y, "count": 3}
            case "mismatch":
                return y @ torch.ones(3, 1)
        return y


def make(what):
    return Of(what).eval()
"""
MODEL: dict[str, Any] = {
    "name": "of",
    "source": "refused_models:make",
    "inputs": [{"name": "x", "dtype": "FP32", "shape": [3]}],
    "outputs": ["score"],
    "max_batch_size": 4,
}


class Evil:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._path,)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "refused_models.py").write_text(MODULES)
    (tmp_path / "tiny.py").write_text(tiny.SOURCE)
    (tmp_path / "layers.py").write_text(tiny.LAYERS)
    # Each test has a folder of its own, and Python one module of a name.
    for name in ("refused_models", "tiny", "layers"):
        sys.modules.pop(name, None)
    return tmp_path


@pytest.fixture
def program(folder: Path) -> Path:
    path = folder / "program.pt2"
    authored.write_program(path)
    return path


@pytest.mark.parametrize(
    ("what", "said"),
    [
        (
            "unsupported",
            'aten._linalg_svd.default has no counterpart in ONNX (File "{folder}/refused_models.py"'
            ", line 16, in forward: return torch.linalg.svdvals(y[:, :, None] * y[:, None, :])); "
            "compute it from other operators",
        ),
        ("branching", "line 18, in forward: return y if y.sum() > 0 else -y); rewrite what"),
        ("complex", "score is torch.complex64, which Triton's clients cannot receive; return "),
        ("bfloat16", "score is torch.bfloat16, which Triton's clients cannot receive; return x.f"),
        ("chance", "answers the same request twice differently: output score: scaled error "),
        ("nan", "PyTorch itself gives NaN in score at x ["),
        ("scalar", "output score has shape [] for a batch of 1: its first dimension must be"),
        ("nested", "returns ['Tensor', 'tuple'], the recipe names 1 outputs (score)"),
        ("dict", "the model returns no output 'score'; did you mean 'scores'?"),
        ("mismatch", "PyTorch itself fails at x [1, 3]: RuntimeError: mat1 and mat2 shapes cannot"),
    ],
)
def test_a_module_is_refused_with_the_line_or_the_tensor(
    folder: Path, what: str, said: str
) -> None:
    assert said.format(folder=folder) in refusal(MODEL | {"args": {"what": what}}, folder)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (tiny.entry() | {"source": "gone:create"}, "there is no gone.py in"),
        (tiny.entry("tny"), "tiny has no callable 'tny'; did you mean 'tiny'?"),
        (
            tiny.entry(args={"scael": 2}),
            "raised TypeError: tiny() got an unexpected keyword",
        ),
        (tiny.entry("number"), "tiny:number returned int, not a torch.nn.Module"),
        (tiny.entry("in_training"), "returned a module in training state; call .eval() on it"),
        (
            tiny.entry("of_two_outputs"),
            "the recipe names 1 outputs (score); return as many tensors",
        ),
        (
            tiny.entry("of_fixed_batch"),
            "output score has shape [2, 1] for a batch of 1: its first dimension must be the batch",
        ),
        (
            tiny.entry(inputs=[tiny.entry()["inputs"][0] | {"range": [0, 11]}]),
            "PyTorch itself fails at ids [1, 1]: IndexError: index out of range",
        ),
    ],
)
def test_an_entry_that_the_code_does_not_fit_is_refused(
    folder: Path, entry: dict[str, Any], said: str
) -> None:
    assert said in refusal(entry, folder)


def weighted(weights: str) -> dict[str, Any]:
    return MODEL | {"args": {"what": ""}, "weights": weights}


RIGHT = {"out.weight": torch.ones(2, 3), "out.bias": torch.zeros(2)}


@pytest.mark.parametrize("name", ["weights.pt", "weights.safetensors"])
@pytest.mark.parametrize(
    ("state", "said"),
    [
        (
            {"module.out.weight": torch.ones(2, 3)},
            "are of another module: 2 missing (out.bias, out.weight), 1 unexpected "
            "(module.out.weight); look at args, or at a prefix",
        ),
        (RIGHT | {"out.bias": torch.zeros(7)}, "size mismatch for out.bias"),
    ],
)
def test_weights_of_another_module_are_refused_with_their_names(
    folder: Path, name: str, state: dict[str, torch.Tensor], said: str
) -> None:
    (save_file if name.endswith("safetensors") else torch.save)(state, folder / name)

    assert said in refusal(weighted(name), folder)


@pytest.mark.parametrize("name", ["weights.pt", "weights.safetensors"])
def test_weights_that_are_cut_off_or_missing_are_refused(folder: Path, name: str) -> None:
    path = folder / name
    assert f"weights {path} cannot be loaded: FileNotFoundError" in refusal(weighted(name), folder)

    (save_file if name.endswith("safetensors") else torch.save)(RIGHT, path)
    path.write_bytes(path.read_bytes()[:-9])
    (folder / "exported").rmdir()
    assert f"weights {path} cannot be loaded: " in refusal(weighted(name), folder)


def test_pickled_weights_are_refused_and_not_unpickled(folder: Path) -> None:
    torch.save({"out.weight": Evil(folder / "ran")}, folder / "weights.pt")

    said = refusal(weighted("weights.pt"), folder)

    assert "hold more than tensors, and pickle, which could run anything, is not used" in said
    assert "torch.save(model.state_dict(), path)" in said
    assert not (folder / "ran").exists()


def test_weights_that_are_no_state_dict_are_refused(folder: Path) -> None:
    torch.save([torch.ones(2)], folder / "weights.pt")

    assert "hold a list and no state dict" in refusal(weighted("weights.pt"), folder)


@pytest.mark.parametrize("package", ["safetensors.torch", "transformers"])
def test_a_missing_extra_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    save_file(RIGHT, folder / "weights.safetensors")
    entry = weighted("weights.safetensors")
    if package == "transformers":
        (folder / "config.json").touch()
        entry = authored.BERT | {"huggingface": "."}

    assert "is not installed; pip install 'pilotlight[huggingface]'" in refusal(entry, folder)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"dims": {"seq": {"min": 1, "opt": 4, "max": 12}}},
            "disagree: input ids is [1..8, 1..9] of torch.int64 in the program, the recipe says "
            "[1..4, 1..12] of torch.int64",
        ),
        ({"max_batch_size": 0}, "[1..8, 1..9] of torch.int64 in the program, the recipe says [1.."),
        ({"max_batch_size": 16}, "the recipe says [1..16, 1..9]"),
        (
            {"inputs": [PROGRAM["inputs"][0] | {"dtype": "INT32"}]},
            "the recipe says [1..4, 1..9] of torch.int32",
        ),
        (
            {"inputs": [*PROGRAM["inputs"], {"name": "more", "dtype": "FP32", "shape": [1]}]},
            "the program takes 1 inputs, the recipe names 2",
        ),
    ],
)
def test_a_program_and_its_recipe_must_agree(
    folder: Path, program: Path, change: dict[str, Any], said: str
) -> None:
    assert said in refusal(PROGRAM | change, folder)


def test_a_program_that_is_cut_off_is_refused(folder: Path, program: Path) -> None:
    program.write_bytes(program.read_bytes()[:-100])

    assert "is no archive of torch.export.save, or cut off" in refusal(PROGRAM, folder)


@pytest.mark.parametrize(
    ("record", "what"),
    [
        ("data/constants/opaque_obj_0", "a pickled object"),
        ("data/constants/custom_obj_0", "a pickled object"),
        ("data/aotinductor/model/model.so", "compiled code"),
    ],
)
def test_a_program_that_holds_code_is_refused(
    folder: Path, program: Path, record: str, what: str
) -> None:
    with zipfile.ZipFile(program, "a") as archive:
        archive.writestr(f"program/{record}", pickle.dumps(Evil(folder / "ran")))

    assert f"holds {what} ({record}), which could run anything" in refusal(PROGRAM, folder)
    assert not (folder / "ran").exists()


def test_a_program_with_a_pickled_weight_is_refused_and_not_unpickled(
    folder: Path, program: Path
) -> None:
    with zipfile.ZipFile(program) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(records["program/data/weights/model_weights_config.json"])
    next(iter(config["config"].values()))["use_pickle"] = True
    buffer = io.BytesIO()
    torch.save(Evil(folder / "ran"), buffer)
    records["program/data/weights/weight_0"] = buffer.getvalue()
    records["program/data/weights/model_weights_config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(program, "w") as archive:
        for name, content in records.items():
            archive.writestr(name, content)

    assert "cannot be loaded: UnpicklingError" in refusal(PROGRAM, folder)
    assert not (folder / "ran").exists()


@pytest.fixture
def ranker(folder: Path) -> Path:
    path = folder / "there/ranker.onnx"
    authored.write_ranker(path)
    authored.write_ranker_golden(folder / "golden.npz")
    return path


def test_an_onnx_file_and_its_recipe_must_agree(folder: Path, ranker: Path) -> None:
    entry = RANKER | {
        "inputs": [
            {"name": "ids", "dtype": "INT32", "shape": [3], "range": [0, 3]},
            {"name": "idx", "dtype": "FP32", "shape": [1]},
        ],
        "outputs": ["scores"],
    }

    said = refusal(entry, folder)

    assert said == (
        f"onnx {ranker} and the recipe disagree: the file has no input 'idx'; did you mean 'ids'?; "
        "the file has input ids INT64['n', 2], the recipe says INT32['batch', 3]; "
        "the file has no output 'scores'; did you mean 'score'?; "
        "the recipe lacks output score FP32['n']"
    )


@pytest.mark.parametrize("location", ["../weights.bin", "/etc/passwd"])
def test_external_data_outside_of_its_folder_are_refused(
    folder: Path, ranker: Path, location: str
) -> None:
    model = onnx.load(ranker, load_external_data=False)
    model.graph.initializer[1].external_data[0].value = location
    onnx.save(model, ranker)

    said = refusal(RANKER, folder)

    assert f"the data of table lie at {location!r}, outside of its folder" in said


def test_missing_external_data_are_refused(folder: Path, ranker: Path) -> None:
    (folder / "there/weights.bin").unlink()

    assert f"onnx {ranker} is invalid: " in refusal(RANKER, folder)


def test_an_onnx_file_that_is_none_is_refused(folder: Path, ranker: Path) -> None:
    ranker.write_bytes(ranker.read_bytes()[:99])

    assert f"onnx {ranker} cannot be read: " in refusal(RANKER, folder)


def test_a_custom_operator_is_refused_by_name(folder: Path) -> None:
    node = helper.make_node("Tokenize", ["x"], ["y"], domain="acme", name="first")
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])]
    authored.save(folder / "m.onnx", [node], inputs=inputs, outputs=outputs, initializers=[])

    said = refusal(RANKER | {"onnx": "m.onnx"}, folder)

    assert "node first is the custom operator acme::Tokenize, which Triton's ONNX Runtime" in said


def test_ids_without_range_and_without_table_are_refused(folder: Path) -> None:
    one = numpy_helper.from_array(np.array(1), "one")
    info = [helper.make_tensor_value_info(name, TensorProto.INT64, ["n", 2]) for name in "xy"]
    add = helper.make_node("Add", ["x", "one"], ["y"])
    authored.save(folder / "m.onnx", [add], inputs=info[:1], outputs=info[1:], initializers=[one])
    entry = RANKER | {
        "onnx": "m.onnx",
        "inputs": [{"name": "x", "dtype": "INT64", "shape": [2]}],
        "outputs": ["y"],
    }

    assert "input x is INT64 and points into no table of the file" in refusal(
        {key: entry[key] for key in entry if key != "golden"}, folder
    )


def test_golden_data_that_lack_a_tensor_are_refused(folder: Path, ranker: Path) -> None:
    np.savez(folder / "golden.npz", **{"input/ids": np.zeros((1, 2), np.int64)})

    assert "golden.npz lacks score; it needs input/<name> and" in refusal(RANKER, folder)
