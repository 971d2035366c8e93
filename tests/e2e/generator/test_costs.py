"""What a build measures, and that a real Triton has served what it publishes."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from contract.config import parse_config
from contract.layout import Store, VersionFolder
from contract.manifest import Manifest, read_manifest
from pilotlight.cli import app
from pilotlight.paths import EMBEDDED
from tests.e2e.generator.adopted import adopted, write_table
from tests.e2e.tiny import Workshop

pytestmark = [pytest.mark.build, pytest.mark.triton, pytest.mark.timeout(600)]

_ROOT = Path(__file__).parents[3]
HURRIED = adopted(name="hurried", warmup_budget_s=1e-6, instances=2)
REFUSED = adopted(
    name="refused", config={"parameters": {"intra_op_thread_count": {"string_value": "many"}}}
)


@dataclass(frozen=True)
class Built:
    exit_code: int
    output: str
    store: Store

    @property
    def files(self) -> VersionFolder:
        return self.store.version("hurried", 1)

    @property
    def manifest(self) -> Manifest:
        return read_manifest(self.files.manifest)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """A model whose warm-up has no time, and one that Triton does not load."""
    workshop = Workshop.at(tmp_path_factory.mktemp("costs"))
    write_table(workshop.folder / "table.onnx")
    recipe = workshop.folder / "models.yaml"
    models = {"triton": "24.10", "target": "cpu", "models": [REFUSED, HURRIED]}
    recipe.write_text(yaml.safe_dump(models))
    options = ["--store", str(workshop.store.root), "--jobs", "1", "--dry-run-server"]
    with pytest.MonkeyPatch.context() as patch:
        # There the servers are installed already.
        patch.setattr("pilotlight.commands.build.EMBEDDED", _ROOT / EMBEDDED)
        done = CliRunner().invoke(app, ["build", str(recipe), *options])
    return Built(done.exit_code, done.output, workshop.store)


def test_what_triton_does_not_load_is_not_published(built: Built) -> None:
    assert built.exit_code == 1
    assert "refused failed: refused version 1 in a dry run on Triton: " in built.output
    assert "many" in built.output
    assert list(built.store.models()) == ["hurried"]


def test_a_model_that_was_served_is_published(built: Built) -> None:
    assert "hurried        built" in built.output
    assert "1 built, 0 unchanged, 1 failed" in built.output


def test_memory_of_a_second_instance_and_a_cold_load_are_measured(built: Built) -> None:
    cost = built.manifest.cost

    assert cost.further_private_bytes is not None
    # Where files lie in memory, no load is cold.
    assert cost.load_cold_s is None or cost.load_cold_s > 0


def test_shapes_beyond_the_budget_are_neither_warmed_nor_kept(built: Built) -> None:
    config = parse_config(built.files.config.read_text(), "hurried")
    plan = built.manifest.warmup

    assert [sample.name for sample in config.model_warmup] == ["b4-seq9", "b1-seq1"]
    assert {path.name for path in built.files.warmup.iterdir()} == {"ids-seq9.bin", "ids-seq1.bin"}
    assert plan is not None
    assert [(cost.batch, cost.dims) for cost in plan.dropped] == [
        (4, {"seq": 4}),
        (1, {"seq": 9}),
        (4, {"seq": 1}),
        (1, {"seq": 4}),
    ]
    assert [cost.dims for cost in built.manifest.cost.shapes] == [{"seq": 9}, {"seq": 1}]


def test_the_build_says_what_it_left_out(built: Built) -> None:
    assert "hurried 1: shapes that its warm-up leaves out for warmup_budget_s: 1e-06: 4; " in (
        built.output
    )


def test_costs_are_those_of_the_manifest(built: Built) -> None:
    shown = CliRunner().invoke(app, ["costs", str(built.store.root)])

    assert shown.exit_code == 0
    assert shown.stdout.splitlines()[1].startswith("hurried 1 x2  ")
