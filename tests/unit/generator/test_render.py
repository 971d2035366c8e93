from dataclasses import replace
from pathlib import Path

import pytest
from tritonclient.grpc.model_config_pb2 import ModelInstanceGroup

from contract.config import parse_config
from generator.render import render
from tests.golden.cases import CONFIGS

_GOLDEN = Path(__file__).parents[2] / "golden"


@pytest.mark.parametrize("name", CONFIGS)
def test_the_text_is_the_golden_one(name: str) -> None:
    """After a wanted change: `python -m tests.golden.regenerate`, and read the difference."""
    assert render(CONFIGS[name]) == (_GOLDEN / f"{name}.pbtxt").read_text()


@pytest.mark.parametrize("name", CONFIGS)
def test_triton_reads_what_was_decided(name: str) -> None:
    wanted = CONFIGS[name]
    read = parse_config(render(wanted), name)

    assert (read.name, read.backend) == (wanted.name, "onnxruntime")
    assert read.default_model_filename == "model.onnx"
    assert read.max_batch_size == wanted.max_batch_size
    assert [tuple(tensor.dims) for tensor in read.input] == [t.dims for t in wanted.inputs]
    assert [tuple(tensor.dims) for tensor in read.output] == [t.dims for t in wanted.outputs]
    (group,) = read.instance_group
    assert ModelInstanceGroup.Kind.Name(group.kind) == wanted.instance_kind
    assert group.count == wanted.instance_count
    assert read.version_policy.latest.num_versions == 1
    assert read.HasField("dynamic_batching") == (wanted.batching is not None)
    assert [(sample.name, sample.batch_size, sample.count) for sample in read.model_warmup] == [
        (sample.name, sample.batch_size, sample.count) for sample in wanted.warmups
    ]


def test_runs_of_one_warm_up_sample_are_capped() -> None:
    """Counts of 3, 2 and 99 were asked for."""
    assert [sample.count for sample in CONFIGS["tables_on_cpu"].warmups] == [3, 2, 5]


@pytest.mark.parametrize("name", ['a"b', "back\\slash", "line\nbreak", "caf\u00e9"])
def test_strings_survive_protobufs_text_format(name: str) -> None:
    config = replace(CONFIGS["tables_on_cpu"], name=name)

    assert parse_config(render(config), name).name == name
