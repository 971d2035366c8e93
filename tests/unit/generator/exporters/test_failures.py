"""Why an export failed, in terms of the author's code."""

from pathlib import Path

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from generator.errors import StageRefused
from generator.exporters.failures import explain
from generator.exporters.onnx import export
from generator.reports.export import ExportJob
from tests.unit.generator.entries import entry

LOOPING = """
import torch


class Looping(torch.nn.Module):
    def forward(self, x):
        return torch.stack([row * 2 for row in x])


def create():
    return Looping().eval()
"""


class Attending(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return scaled_dot_product_attention(x, x, x)


@pytest.mark.filterwarnings("ignore")
def test_an_operator_that_the_exporter_fails_at_is_told_with_its_line() -> None:
    program = torch.export.export(Attending().eval(), (torch.zeros(2, 3, 4),))
    cause = AssertionError("only 4D query, key, and value are supported\nand more")
    failed = RuntimeError(
        "Error when translating node %attention : [num_users=1] = call_function"
        "[target=torch.ops.aten.scaled_dot_product_attention.default](args = (%x, %x, %x))"
    )
    failed.__cause__ = cause

    said = explain(failed, lambda: program)

    assert said.startswith(
        "aten.scaled_dot_product_attention.default cannot be translated to ONNX, AssertionError: "
        f'only 4D query, key, and value are supported (File "{__file__}", line '
    )
    assert said.endswith(
        "in forward: return scaled_dot_product_attention(x, x, x)); compute it from other "
        "operators, or outside of the model"
    )


@pytest.mark.build
@pytest.mark.filterwarnings("ignore")
def test_a_batch_that_the_export_fixes_is_refused(tmp_path: Path) -> None:
    """PyTorch writes such a file without a word."""
    (tmp_path / "looping.py").write_text(LOOPING)
    inputs = [{"name": "x", "dtype": "FP32", "shape": [3]}]
    model = entry(source="looping:create", inputs=inputs)
    job = ExportJob(model=model, recipe_folder=tmp_path, folder=tmp_path, threads=1)

    with pytest.raises(StageRefused, match=r"the file has input x FP32\[2, 3\], the recipe says"):
        export(job)
