"""What is in bfloat16 is built in float32, and refused where nothing can turn it into that."""

import sys
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

from contract.dtypes import Datatype
from generator.errors import StageRefused
from generator.exporters import program
from generator.exporters.foreign import read_foreign
from generator.exporters.precision import (
    float32_for_bfloat16,
    half_by_default,
    halved,
    has_bfloat16,
    in_float32,
)
from generator.exporters.reference import calibrate, run_cases
from generator.scaffold.found import LookJob
from generator.scaffold.module import look
from tests.unit.generator.entries import DENSE, entry

DENSE_MODEL = entry(inputs=[DENSE])


class Embedding(nn.Module):
    """Its answer is in bfloat16."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(10, 4)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.table(ids).sum(1)  # type: ignore[no-any-return]


class Plain(nn.Module):
    """It takes what its weights are in."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(13, 2)

    def forward(self, dense: torch.Tensor) -> torch.Tensor:
        return self.out(dense)  # type: ignore[no-any-return]


class Casting(Plain):
    """It takes float32 and computes in bfloat16, as its code says by name."""

    def forward(self, dense: torch.Tensor) -> torch.Tensor:
        narrow = dense.to(torch.bfloat16) + dense.bfloat16()
        return super().forward(narrow + torch.ones(13, dtype=torch.bfloat16)).float()


class Keeping(Plain):
    """It keeps a tensor that no state dict knows."""

    def __init__(self) -> None:
        super().__init__()
        self.kept = [torch.full((13,), 0.3, dtype=torch.bfloat16)]

    def forward(self, dense: torch.Tensor) -> torch.Tensor:
        return super().forward(dense + self.kept[0])


class PlainInFloat32(Plain):
    """What the others are when nothing is rounded to bfloat16."""

    def __init__(self, narrow: nn.Module, before: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.load_state_dict(narrow.state_dict())
        self.before = before

    def forward(self, dense: torch.Tensor) -> torch.Tensor:
        return super().forward(self.before(dense))


def narrow(create: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return create().bfloat16().eval().requires_grad_(requires_grad=False)


def dense() -> torch.Tensor:
    return torch.randn(3, 13, generator=torch.Generator().manual_seed(0))


def graph(path: Path, taken: int, given: int) -> Path:
    tensors = [
        helper.make_tensor_value_info(name, kind, ["n", 3])
        for name, kind in (("x", taken), ("y", given))
    ]
    cast = helper.make_node("Cast", ["x"], ["y"], to=given)
    made = helper.make_graph([cast], "g", tensors[:1], tensors[1:])
    imports = [helper.make_opsetid("", 20)]
    onnx.save(helper.make_model(made, ir_version=10, opset_imports=imports), path)
    return path


def test_float32_holds_every_weight_and_the_module_itself_stays_as_it_is() -> None:
    module = narrow(Embedding)

    wide = in_float32(module)

    assert (has_bfloat16(module), has_bfloat16(wide)) == (True, False)
    (weights,), (held,) = (each.state_dict().values() for each in (module, wide))
    assert torch.equal(held.bfloat16(), weights)


@pytest.mark.parametrize(
    ("create", "before"),
    [
        (Plain, lambda dense: dense),
        (Casting, lambda dense: dense + dense + 1),
        (Keeping, lambda dense: dense + torch.tensor(0.3).bfloat16().float()),
    ],
)
def test_it_answers_in_float32_and_as_if_bfloat16_were_never_named(
    create: Callable[[], nn.Module], before: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    module = narrow(create)

    with float32_for_bfloat16():
        answer = in_float32(module)(dense())

    assert torch.equal(answer, PlainInFloat32(module, before)(dense()))


def test_what_the_code_makes_by_default_is_float32_even_where_its_author_chose_bfloat16() -> None:
    torch.set_default_dtype(torch.bfloat16)
    with float32_for_bfloat16():
        assert torch.ones(1).dtype is torch.float32

    assert torch.get_default_dtype() is torch.float32


def test_limits_are_those_of_float32() -> None:
    with float32_for_bfloat16():
        module = in_float32(narrow(Casting))
        cases = run_cases(DENSE_MODEL, module, {})

        assert calibrate(DENSE_MODEL, module, cases) == {"score": 1e-5}
    assert cases[0].outputs["score"].dtype == "float32"


def test_in_half_precision_what_asks_for_bfloat16_gets_float16() -> None:
    given = dense()
    with float32_for_bfloat16():
        module = in_float32(narrow(Casting))
        whole = module(given)
        with half_by_default():
            (half,) = halved(module, DENSE_MODEL, {"score": whole.numpy()})(given)

    assert half.dtype is torch.float32
    assert 0 < (half - whole).abs().max() < 2e-3 * whole.abs().max()


@pytest.mark.filterwarnings("ignore")
def test_a_program_that_takes_bfloat16_is_one_of_float32_to_clients(tmp_path: Path) -> None:
    sizes = ({0: torch.export.Dim("batch", max=64)},)
    example = (dense().bfloat16(),)
    exported = torch.export.export(narrow(Plain), example, dynamic_shapes=sizes)
    torch.export.save(exported, tmp_path / "plain.pt2")
    model = entry(source=None, program="plain.pt2", inputs=[DENSE])

    module = program.load(model, "plain.pt2", tmp_path)
    with float32_for_bfloat16():
        answer = in_float32(module)(dense())

    assert torch.equal(answer, narrow(Plain).float()(dense()))


@pytest.mark.parametrize(
    ("taken", "given", "name"),
    [
        (TensorProto.BFLOAT16, TensorProto.FLOAT, "x"),
        (TensorProto.FLOAT, TensorProto.BFLOAT16, "y"),
    ],
)
def test_a_file_that_takes_or_gives_it_is_refused_with_the_remedy(
    tmp_path: Path, taken: int, given: int, name: str
) -> None:
    path = graph(tmp_path / "their.onnx", taken, given)

    with pytest.raises(StageRefused) as refused:
        read_foreign(path)

    assert f"{name} is bfloat16, which Triton's ONNX Runtime backend neither" in str(refused.value)
    assert "export the model again after model.float()" in str(refused.value)


def test_a_recipe_is_told_to_write_float32() -> None:
    with pytest.raises(ValueError, match="write FP32: a model that has bfloat16 is built in float"):
        entry(inputs=[DENSE | {"dtype": "BF16"}])


def test_a_recipe_begun_from_example_inputs_in_bfloat16_has_float32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "narrow_model.py").write_text(
        "import torch\n"
        "def create() -> torch.nn.Module:\n"
        "    return torch.nn.Linear(4, 2).bfloat16().eval()\n"
        "def example_inputs():\n"
        "    return torch.ones(1, 4, dtype=torch.bfloat16)\n"
    )

    (model,) = look(LookJob(module=tmp_path / "narrow_model.py")).models

    assert [(spec.datatype, spec.shape) for spec in model.inputs] == [(Datatype.FP32, (4,))]
