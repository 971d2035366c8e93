import pytest

from contract.dtypes import Datatype
from generator import lint, warmup
from generator.errors import ConfigRefused
from generator.render import render
from generator.reports import GraphTensor, VerifyReport
from tests.golden.cases import CONFIGS
from tests.unit.generator.entries import entry

TEXT = render(CONFIGS["tables_on_cpu"])
FILES = {name: len(content) for name, content in warmup.data_files(entry()).items()}
GRAPH = VerifyReport(
    inputs=(
        GraphTensor(name="dense", datatype=Datatype.FP32, shape=(-1, 13)),
        GraphTensor(name="ids", datatype=Datatype.INT64, shape=(-1, 6)),
    ),
    outputs=(GraphTensor(name="score", datatype=Datatype.FP32, shape=(-1, 1)),),
)
IDS_DATA = """    key: "ids"
    value {
      data_type: TYPE_INT64
      dims: [6]
      input_data_file: "ids.bin"
    }"""


def refusal(text: str = TEXT, graph: VerifyReport = GRAPH, files: dict[str, int] = FILES) -> str:
    with pytest.raises(ConfigRefused) as refused:
        lint.check(text, "ranker", graph=graph, warmup=files)
    return str(refused.value)


def test_what_the_generator_writes_passes() -> None:
    lint.check(TEXT, "ranker", graph=GRAPH, warmup=FILES)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "preferred_batch_size: [16, 64]",
            "preferred_batch_size: [16, 128]",
            "dynamic_batching.preferred_batch_size 128 is above max_batch_size 64; lower it",
        ),
        (
            "max_batch_size: 64",
            "max_batch_size: 0",
            "dynamic_batching needs max_batch_size above 0",
        ),
        (
            "batch_size: 64\n  count",
            "batch_size: 65\n  count",
            "model_warmup b64: batch_size 65 is not within 1 and 64",
        ),
        ("batch_size: 1\n", "batch_size: 0\n", "model_warmup b1: batch_size 0 is not within 1"),
        (
            IDS_DATA,
            IDS_DATA.replace("[6]", "[-1]"),
            "input ids has dims [-1], the model [6]; give every dimension a size",
        ),
        (IDS_DATA, IDS_DATA.replace("[6]", "[1, 6]"), "without the batch dimension"),
        (
            IDS_DATA,
            IDS_DATA.replace("TYPE_INT64", "TYPE_INT32"),
            "input ids has another data_type than the model's",
        ),
        (IDS_DATA, IDS_DATA.replace('"ids"', '"id"'), "input ids is missing; add its data"),
        (
            IDS_DATA,
            IDS_DATA.replace('"ids"', '"id"'),
            "input id is none of the model's (dense, ids)",
        ),
        (
            IDS_DATA,
            IDS_DATA.replace('input_data_file: "ids.bin"', "random_data: true"),
            "random_data read as ids points outside of tables",
        ),
    ],
)
def test_refuses_what_triton_would(old: str, new: str, said: str) -> None:
    assert old in TEXT

    answer = refusal(TEXT.replace(old, new))

    assert answer.startswith("Triton would not serve ranker: ")
    assert said in answer


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"dense.bin": 52}, "input ids needs 48 bytes for one element of [6], warmup/ids.bin does"),
        ({"dense.bin": 52, "ids.bin": 40}, "warmup/ids.bin has 40 bytes"),
        ({"dense.bin": 52, "ids.bin": 56}, "warmup/ids.bin has 56 bytes"),
    ],
)
def test_refuses_warm_up_files_of_another_size(files: dict[str, int], said: str) -> None:
    assert said in refusal(files=files)


def changed(**update: object) -> VerifyReport:
    return GRAPH.model_copy(update={"inputs": (GRAPH.inputs[0].model_copy(update=update),)})


@pytest.mark.parametrize(
    ("graph", "said"),
    [
        (changed(), "input ids is not in the graph, which has dense"),
        (changed(name="other"), "input other of the graph is not listed"),
        (changed(datatype=Datatype.FP64), "input dense is TYPE_FP32, the graph's is TYPE_FP64"),
        (changed(shape=(-1, 12)), "input dense has dims [13], the graph's shape is [-1, 12]"),
        (changed(shape=(2, 13)), "its first dimension must vary, because max_batch_size is above"),
        (changed(shape=()), "its first dimension must vary"),
    ],
)
def test_refuses_a_config_that_is_not_the_graphs(graph: VerifyReport, said: str) -> None:
    assert said in refusal(graph=graph)


def test_the_message_alone_can_be_checked_before_there_is_a_graph() -> None:
    lint.check_message(TEXT, "ranker")

    with pytest.raises(ConfigRefused, match="preferred_batch_size 64 is above max_batch_size 32"):
        lint.check_message(TEXT.replace("max_batch_size: 64", "max_batch_size: 32"), "ranker")
