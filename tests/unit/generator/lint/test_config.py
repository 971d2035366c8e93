"""What the pipeline asks of the rules."""

import pytest

from contract.dtypes import Datatype
from contract.errors import InvalidArtifact
from generator.config.render import render
from generator.errors import ConfigRefused
from generator.lint import config as lint
from generator.reports import GraphTensor, VerifyReport
from tests.golden.cases import CONFIGS
from tests.unit.generator.lint.trees import CONFIG

IDS = GraphTensor(name="ids", datatype=Datatype.INT64, shape=(-1, 6))
SCORE = GraphTensor(name="score", datatype=Datatype.FP32, shape=(-1, 6))
FILES = {"ids.bin": 48}


def refusal(
    text: str = CONFIG,
    *,
    ids: GraphTensor = IDS,
    files: dict[str, int] = FILES,
    triton: str = "24.10",
) -> str:
    report = VerifyReport.model_construct(inputs=(ids,), outputs=(SCORE,), defaults=())
    try:
        lint.check(text, "ranker", graph=report, warmup=files, triton=triton)
    except ConfigRefused as refused:
        return str(refused)
    return ""


@pytest.mark.parametrize("name", CONFIGS)
def test_what_the_generator_writes_passes(name: str) -> None:
    config = CONFIGS[name]

    lint.check_message(render(config), config.name)


def test_a_good_config_passes_with_its_graph_and_its_files() -> None:
    assert refusal() == ""


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[4, 8]", "[16]", "preferred_batch_size 16 is above max_batch_size 8; lower it, or"),
        ('key: "ids"', 'key: "id"', "sample full has no input ids; add its data to the sample"),
        ("TYPE_FP32", "TYPE_FP64", "output score is TYPE_FP64, in 1/model.onnx TYPE_FP32"),
        ("input_data_file", "zero_data: true #", "input ids is zero_data of TYPE_INT64"),
    ],
)
def test_a_refusal_says_what_is_wrong_and_what_to_do(old: str, new: str, said: str) -> None:
    assert old in CONFIG

    answer = refusal(CONFIG.replace(old, new))

    assert answer.startswith("Triton would not serve ranker as it should: ")
    assert said in answer


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "has its data in warmup/ids.bin, which does not exist"),
        ({"ids.bin": 40}, "needs 48 bytes for one element of [6], warmup/ids.bin has 40 bytes"),
        ({"ids.bin": 56}, "warmup/ids.bin has 56 bytes"),
    ],
)
def test_refuses_warm_up_files_of_another_size(files: dict[str, int], said: str) -> None:
    assert said in refusal(files=files)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"name": "other"}, "input ids is not in 1/model.onnx, which has other"),
        ({"shape": (-1, 5)}, "input ids has dims [6], in 1/model.onnx the shape [-1, 5]"),
        ({"shape": (2, 6)}, "max_batch_size is 8, and input ids has the shape [2, 6]"),
        ({"shape": ()}, "max_batch_size is 8, and input ids has the shape []"),
    ],
)
def test_refuses_a_config_that_is_not_the_graphs(changed: dict[str, object], said: str) -> None:
    assert said in refusal(ids=IDS.model_copy(update=changed))


def test_refuses_a_field_that_the_release_does_not_know() -> None:
    text = f"{CONFIG}model_metrics {{}}"

    assert "model_metrics came with Triton 24.11, this one is 24.10" in refusal(text)
    assert refusal(text, triton="24.11") == ""


def test_the_message_alone_can_be_checked_before_there_is_a_graph() -> None:
    lint.check_message(CONFIG, "ranker")

    with pytest.raises(ConfigRefused, match="preferred_batch_size 8 is above max_batch_size 4"):
        lint.check_message(CONFIG.replace("max_batch_size: 8", "max_batch_size: 4"), "ranker")


def test_a_text_that_is_no_config_is_told_with_line_and_column() -> None:
    with pytest.raises(InvalidArtifact, match=r"the config of ranker is no config .*: 1:1 : "):
        lint.check_message("nonsense: 1", "ranker")
