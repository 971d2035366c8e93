from dataclasses import replace
from pathlib import Path

import pytest
from tritonclient.grpc.model_config_pb2 import ModelInstanceGroup

from contract.config import parse_config
from generator.config.render import render
from generator.lint import config as lint
from generator.releases import OLDEST
from tests.golden.cases import CONFIGS

_GOLDEN = Path(__file__).parents[3] / "golden"


@pytest.mark.parametrize("name", CONFIGS)
def test_the_text_is_the_golden_one(name: str) -> None:
    """After a wanted change: `python -m tests.golden.regenerate`, and read the difference."""
    assert render(CONFIGS[name]) == (_GOLDEN / f"{name}.pbtxt").read_text()


def test_every_golden_text_has_its_case() -> None:
    assert {path.stem for path in _GOLDEN.glob("*.pbtxt")} == set(CONFIGS)


@pytest.mark.parametrize("name", CONFIGS)
def test_triton_reads_what_was_decided(name: str) -> None:
    wanted = CONFIGS[name]
    read = parse_config(render(wanted), name)

    assert (read.name, read.backend) == (wanted.name, wanted.backend)
    assert read.default_model_filename == wanted.model_filename
    assert read.max_batch_size == wanted.max_batch_size
    assert [tuple(tensor.dims) for tensor in read.input] == [t.dims for t in wanted.inputs]
    assert [tuple(tensor.dims) for tensor in read.output] == [t.dims for t in wanted.outputs]
    assert [
        (ModelInstanceGroup.Kind.Name(group.kind), group.count, tuple(group.gpus))
        for group in read.instance_group
    ] == [(group.kind, group.count, group.gpus) for group in wanted.instances]
    assert read.HasField("dynamic_batching") == (wanted.batching is not None)
    assert read.HasField("sequence_batching") == (wanted.sequence is not None)
    assert [(sample.name, sample.batch_size, sample.count) for sample in read.model_warmup] == [
        (sample.name, sample.batch_size, sample.count) for sample in wanted.warmups
    ]


@pytest.mark.parametrize("name", CONFIGS)
def test_lint_finds_nothing_in_what_was_decided(name: str) -> None:
    lint.check_message(render(CONFIGS[name]), CONFIGS[name].name, triton=OLDEST)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_model_without_batches_says_so(name: str) -> None:
    """Triton takes a config that leaves it out for one to be completed."""
    assert f"\nmax_batch_size: {CONFIGS[name].max_batch_size}\n" in render(CONFIGS[name])


@pytest.mark.parametrize("name", ['a"b', "back\\slash", "line\nbreak", "caf\u00e9"])
def test_strings_survive_protobufs_text_format(name: str) -> None:
    config = replace(CONFIGS["tables_on_cpu"], name=name)

    assert parse_config(render(config), name).name == name
