"""What the embedded tritonserver and its ONNX Runtime backend do; no fakes anywhere."""

import contextlib
import queue
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
import tritonclient.grpc as triton
from onnx import TensorProto, helper
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from embedded.errors import ServerDidNotStart
from embedded.process import group_members, wait_until
from embedded.provision import PACKAGES, Installation
from embedded.supervisor import Supervisor
from embedded.triton import TritonServer
from tests.fixtures.embedded import LIVE_TIMEOUT_S, StartTriton, running_triton

pytestmark = [pytest.mark.triton, pytest.mark.timeout(180)]

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108
WITHIN_S = 30.0
FLOAT, INT64, STRING = TensorProto.FLOAT, TensorProto.INT64, TensorProto.STRING
Spec = tuple[str, int, Sequence[str | int]]

ADD = """
max_batch_size: 8
input { name: "x" data_type: TYPE_FP32 dims: [2] }
output { name: "y" data_type: TYPE_FP32 dims: [2] }
instance_group { kind: KIND_CPU count: 1 }
"""
# The pause is long enough for requests sent at once to meet in one execution.
GATHER = """
max_batch_size: 8
input { name: "x" data_type: TYPE_INT64 dims: [1] }
output { name: "y" data_type: TYPE_FP32 dims: [1] }
instance_group { kind: KIND_CPU count: 1 }
dynamic_batching { preferred_batch_size: [4] max_queue_delay_microseconds: 15000000 }
"""


def save_model(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[Spec],
    outputs: Sequence[Spec],
    *,
    constants: Mapping[str, np.ndarray] | None = None,
    external: bool = False,
) -> None:
    graph = helper.make_graph(
        list(nodes),
        "graph",
        [helper.make_tensor_value_info(*spec) for spec in inputs],
        [helper.make_tensor_value_info(*spec) for spec in outputs],
        [onnx.numpy_helper.from_array(value, name) for name, value in (constants or {}).items()],
    )
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 18)])
    path.parent.mkdir(parents=True)
    onnx.save_model(
        model, path, save_as_external_data=external, location="model.onnx.data", size_threshold=0
    )


def write_config(repository: Path, model: str, text: str) -> None:
    (repository / model).mkdir(exist_ok=True)
    (repository / model / "config.pbtxt").write_text(f'backend: "onnxruntime"\n{text}')


def add_model(repository: Path, model: str, config: str = ADD, file: str = "model.onnx") -> None:
    """y = x + 1."""
    save_model(
        repository / model / "1" / file,
        [helper.make_node("Add", ["x", "one"], ["y"])],
        [("x", FLOAT, ["n", 2])],
        [("y", FLOAT, ["n", 2])],
        constants={"one": np.float32([1.0])},
    )
    write_config(repository, model, config)


def gather_model(repository: Path, model: str) -> None:
    """y = [0, 10, 20, 30][x]; fails in ONNX Runtime where x is out of range."""
    save_model(
        repository / model / "1" / "model.onnx",
        [helper.make_node("Gather", ["table", "x"], ["y"])],
        [("x", INT64, ["n", 1])],
        [("y", FLOAT, ["n", 1])],
        constants={"table": np.float32([0, 10, 20, 30])},
    )
    write_config(repository, model, GATHER)


def infer(
    client: triton.InferenceServerClient,
    model: str,
    inputs: Mapping[str, np.ndarray],
    outputs: Sequence[str] = (),
) -> triton.InferResult:
    return client.infer(
        model,
        [to_input(name, value) for name, value in inputs.items()],
        outputs=[triton.InferRequestedOutput(name) for name in outputs] or None,
    )


def to_input(name: str, value: np.ndarray) -> triton.InferInput:
    tensor = triton.InferInput(name, list(value.shape), np_to_triton_dtype(value.dtype))
    tensor.set_data_from_numpy(value)
    return tensor


def infer_at_once(
    client: triton.InferenceServerClient, model: str, values: Sequence[np.ndarray]
) -> list[np.ndarray | str]:
    """Output `y` of each request, or the text of its error."""
    answers: queue.Queue[tuple[int, np.ndarray | str]] = queue.Queue()

    def answered(index: int, result: triton.InferResult | None, error: Exception | None) -> None:
        answers.put((index, result.as_numpy("y") if result is not None else str(error)))

    for index, value in enumerate(values):
        client.async_infer(model, [to_input("x", value)], partial(answered, index))
    found = dict(answers.get(timeout=WITHIN_S) for _ in values)
    return [found[index] for index in range(len(values))]


def executions(client: triton.InferenceServerClient, model: str) -> dict[int, int]:
    """How many there were with so many requests; Triton counts them after it has answered."""
    (found,) = client.get_inference_statistics(model).model_stats
    return {each.batch_size: each.compute_infer.count for each in found.batch_stats}


@contextlib.contextmanager
def connect(server: TritonServer) -> Iterator[triton.InferenceServerClient]:
    client = triton.InferenceServerClient(server.grpc_address)
    try:
        yield client
    finally:
        client.close()


@pytest.fixture(scope="module")
def server(
    installation: Installation, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TritonServer]:
    folder = tmp_path_factory.mktemp("triton")
    (folder / "repository").mkdir()
    log = folder / "triton.log"
    with running_triton(installation, folder / "repository", log) as server:
        yield server


@pytest.fixture
def client(server: TritonServer) -> Iterator[triton.InferenceServerClient]:
    with connect(server) as client:
        yield client


@pytest.fixture
def repository(server: TritonServer) -> Path:
    return server.repository


def stubs(server: TritonServer) -> set[int]:
    """Those of models that have gone may end a moment later."""
    return set(group_members(server.pid)) - {server.pid}


def shared_memory_of(name: str) -> list[Path]:
    return list(SHARED_MEMORY.glob(f"{name}-*"))


def test_a_model_loads_and_answers(repository: Path, client: triton.InferenceServerClient) -> None:
    add_model(repository, "add")
    client.load_model("add")

    result = infer(client, "add", {"x": np.float32([[1, 2], [3, 4]])})

    assert result.as_numpy("y").tolist() == [[2, 3], [4, 5]]


def test_models_see_the_pinned_packages(
    repository: Path, client: triton.InferenceServerClient
) -> None:
    (repository / "versions" / "1").mkdir(parents=True)
    (repository / "versions" / "config.pbtxt").write_text(
        """
        backend: "python"
        output { name: "y" data_type: TYPE_STRING dims: [2] }
        input { name: "x" data_type: TYPE_FP32 dims: [2] }
        """
    )
    (repository / "versions" / "1" / "model.py").write_text(
        """
import numpy, onnxruntime
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        packages = [f"{each.__name__}=={each.__version__}" for each in (numpy, onnxruntime)]
        tensor = pb_utils.Tensor("y", numpy.array(packages, dtype=object))
        return [pb_utils.InferenceResponse([tensor]) for _ in requests]
"""
    )
    client.load_model("versions")

    found = infer(client, "versions", {"x": np.float32([0, 0])}).as_numpy("y")

    assert tuple(element.decode() for element in found) == PACKAGES


def test_requests_at_once_share_an_execution(
    repository: Path, client: triton.InferenceServerClient
) -> None:
    gather_model(repository, "gather")
    client.load_model("gather")

    answers = infer_at_once(client, "gather", [np.int64([[index]]) for index in range(4)])

    assert [np.asarray(answer).tolist() for answer in answers] == [[[0]], [[10]], [[20]], [[30]]]
    assert wait_until(lambda: executions(client, "gather") == {4: 1}, WITHIN_S)


def test_a_bad_request_in_a_batch_fails_alone(
    repository: Path, client: triton.InferenceServerClient
) -> None:
    gather_model(repository, "gather_bad")
    client.load_model("gather_bad")

    answers = infer_at_once(client, "gather_bad", [np.int64([[i]]) for i in (0, 99, 2, 3)])

    assert [np.asarray(answers[index]).tolist() for index in (0, 2, 3)] == [[[0]], [[20]], [[30]]]
    assert "onnx runtime error" in answers[1]
    assert "idx=99 must be within the inclusive range [-4,3]" in answers[1]


def test_requests_of_different_shapes_at_once_are_all_answered(
    repository: Path, client: triton.InferenceServerClient
) -> None:
    save_model(
        repository / "free" / "1" / "model.onnx",
        [helper.make_node("Identity", ["x"], ["y"])],
        [("x", INT64, ["n", "m"])],
        [("y", INT64, ["n", "m"])],
    )
    config = GATHER.replace("TYPE_FP32", "TYPE_INT64").replace("[1]", "[-1]")
    config = config.replace("15000000", "100000")
    write_config(repository, "free", config)
    client.load_model("free")
    values = [np.arange(2 * size).reshape(2, size) for size in (1, 3, 3, 2)]

    answers = infer_at_once(client, "free", values)

    assert [np.asarray(answer).tolist() for answer in answers] == [each.tolist() for each in values]


def test_each_instance_is_a_process_and_all_answer(
    repository: Path, client: triton.InferenceServerClient, server: TritonServer
) -> None:
    add_model(repository, "three", ADD.replace("count: 1", "count: 3"))
    before = stubs(server)
    client.load_model("three")

    answers = infer_at_once(client, "three", [np.float32([[index, 0]]) for index in range(24)])

    assert len(stubs(server) - before) == 3
    assert [np.asarray(answer)[0, 0] for answer in answers] == [index + 1 for index in range(24)]


def test_an_optional_input_defaults_to_the_models_initializer(
    repository: Path, client: triton.InferenceServerClient
) -> None:
    save_model(
        repository / "optional" / "1" / "model.onnx",
        [helper.make_node("Mul", ["x", "scale"], ["y"])],
        [("x", FLOAT, [2]), ("scale", FLOAT, [1])],
        [("y", FLOAT, [2])],
        constants={"scale": np.float32([10])},
    )
    write_config(
        repository,
        "optional",
        """
        max_batch_size: 0
        input { name: "x" data_type: TYPE_FP32 dims: [2] }
        input { name: "scale" data_type: TYPE_FP32 dims: [1] optional: true }
        output { name: "y" data_type: TYPE_FP32 dims: [2] }
        """,
    )
    client.load_model("optional")
    x = np.float32([1, 2])

    without = infer(client, "optional", {"x": x})
    given = infer(client, "optional", {"x": x, "scale": np.float32([3])})

    assert without.as_numpy("y").tolist() == [10, 20]
    assert given.as_numpy("y").tolist() == [3, 6]


def test_strings_pass_unchanged(repository: Path, client: triton.InferenceServerClient) -> None:
    save_model(
        repository / "strings" / "1" / "model.onnx",
        [helper.make_node("Identity", ["x"], ["y"])],
        [("x", STRING, ["n", 2])],
        [("y", STRING, ["n", 2])],
    )
    write_config(repository, "strings", ADD.replace("TYPE_FP32", "TYPE_STRING"))
    client.load_model("strings")
    texts = [["", "a"], ["Grüße \U0001f600", "b" * 100_000]]
    value = np.array([[text.encode() for text in row] for row in texts], dtype=np.object_)

    result = infer(client, "strings", {"x": value}).as_numpy("y")

    assert [[element.decode() for element in row] for row in result] == texts
    with pytest.raises(InferenceServerException, match="not UTF-8"):
        infer(client, "strings", {"x": np.array([[b"\xff", b""]], dtype=np.object_)})


def test_scalars_are_written_as_one_element(
    repository: Path, client: triton.InferenceServerClient
) -> None:
    save_model(
        repository / "scalar" / "1" / "model.onnx",
        [helper.make_node("Neg", ["x"], ["y"])],
        [("x", FLOAT, [])],
        [("y", FLOAT, [])],
    )
    write_config(
        repository,
        "scalar",
        ADD.replace("max_batch_size: 8", "max_batch_size: 0").replace("[2]", "[1]"),
    )
    client.load_model("scalar")

    assert infer(client, "scalar", {"x": np.float32([4])}).as_numpy("y").tolist() == [-4]


def test_only_requested_outputs_are_answered(
    repository: Path, client: triton.InferenceServerClient
) -> None:
    save_model(
        repository / "two" / "1" / "model.onnx",
        [helper.make_node("Neg", ["x"], ["y"]), helper.make_node("Abs", ["x"], ["z"])],
        [("x", FLOAT, ["n", 2])],
        [("y", FLOAT, ["n", 2]), ("z", FLOAT, ["n", 2])],
    )
    write_config(repository, "two", f'{ADD} output {{ name: "z" data_type: TYPE_FP32 dims: [2] }}')
    client.load_model("two")
    x = {"x": np.float32([[-1, 2]])}

    both = infer(client, "two", x).get_response().outputs
    one = infer(client, "two", x, ["z"])

    assert {output.name for output in both} == {"y", "z"}
    assert one.as_numpy("z").tolist() == [[1, 2]]
    assert one.as_numpy("y") is None


def test_the_file_may_have_another_name(
    repository: Path, client: triton.InferenceServerClient
) -> None:
    add_model(repository, "named", f'{ADD} default_model_filename: "net.onnx"', file="net.onnx")
    client.load_model("named")

    assert infer(client, "named", {"x": np.float32([[0, 0]])}).as_numpy("y").tolist() == [[1, 1]]


def test_weights_beside_the_model_are_found_and_mapped(
    repository: Path, client: triton.InferenceServerClient, server: TritonServer
) -> None:
    # Gather leaves its table where it is; MatMul would pack it anew.
    save_model(
        repository / "external" / "1" / "model.onnx",
        [helper.make_node("Gather", ["table", "x"], ["y"])],
        [("x", INT64, ["n", 1])],
        [("y", FLOAT, ["n", 1])],
        constants={"table": np.arange(1_000_000, dtype=np.float32)},
        external=True,
    )
    write_config(repository, "external", GATHER)
    before = stubs(server)
    client.load_model("external")

    result = infer(client, "external", {"x": np.int64([[999_999]] * 8)}).as_numpy("y")

    assert result[0].tolist() == [999_999]
    (stub,) = stubs(server) - before
    assert "model.onnx.data" in Path(f"/proc/{stub}/maps").read_text()


def test_a_config_without_tensors_is_completed(start_triton: StartTriton, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    add_model(repository, "bare", "")
    server = start_triton(repository, completes_configs=True)
    with connect(server) as client:
        client.load_model("bare")
        config = client.get_model_config("bare").config
        answer = infer(client, "bare", {"x": np.float32([[0, 0]])}).as_numpy("y")

    assert config.max_batch_size == 4
    assert config.HasField("dynamic_batching")
    assert [(each.name, list(each.dims)) for each in config.input] == [("x", [2])]
    assert [(each.name, list(each.dims)) for each in config.output] == [("y", [2])]
    assert answer.tolist() == [[1, 1]]


def test_a_version_may_be_a_link(
    repository: Path, client: triton.InferenceServerClient, tmp_path: Path
) -> None:
    add_model(tmp_path, "store", "")
    (repository / "linked").mkdir()
    (repository / "linked" / "7").symlink_to(tmp_path / "store" / "1")
    write_config(repository, "linked", ADD)
    client.load_model("linked")

    result = infer(client, "linked", {"x": np.float32([[0, 0]])})

    assert result.as_numpy("y").tolist() == [[1, 1]]
    assert result.get_response().model_version == "7"


def test_thread_counts_of_the_config_hold(
    repository: Path, client: triton.InferenceServerClient, server: TritonServer
) -> None:
    def stub_with(count: int) -> Path:
        model = f"threads_{count}"
        parameter = f'key: "intra_op_thread_count" value {{ string_value: "{count}" }}'
        add_model(repository, model, f"{ADD} parameters {{ {parameter} }}")
        before = stubs(server)
        client.load_model(model)
        (stub,) = stubs(server) - before
        return Path(f"/proc/{stub}/task")

    five, one = stub_with(5), stub_with(1)

    def four_more() -> bool:
        """A stub's own threads may come a moment after its model is loaded."""
        return len(list(five.iterdir())) - len(list(one.iterdir())) == 4

    assert wait_until(four_more, WITHIN_S)


@pytest.mark.parametrize(
    ("model", "config", "reason"),
    [
        (
            "bad_dims",
            ADD.replace("[2]", "[3]"),
            r"config says shape \[-1, 3\].*model has \[-1, 2\]",
        ),
        ("bad_type", ADD.replace("FP32", "FP16"), "config says TYPE_FP16, the model has TYPE_FP32"),
        ("bad_name", ADD.replace('"y"', '"q"'), "output 'q': the model has no such output.*y"),
        (
            "bad_count",
            f'{ADD} input {{ name: "q" data_type: TYPE_FP32 dims: [2] }}',
            "config has 2 inputs that are not optional, the model has 1: x",
        ),
        (
            "bad_mode",
            f'{ADD} parameters {{ key: "execution_mode" value {{ string_value: "2" }} }}',
            "execution_mode is 0 or 1, not '2'",
        ),
        ("no_file", f'{ADD} default_model_filename: "q.onnx"', "has no file .*/no_file/1/q.onnx"),
        ("gpu", ADD.replace("KIND_CPU", "KIND_GPU"), "GPU"),
    ],
)
def test_a_config_that_the_model_contradicts_is_refused(
    repository: Path, client: triton.InferenceServerClient, model: str, config: str, reason: str
) -> None:
    add_model(repository, model, config)

    with pytest.raises(InferenceServerException, match=f"(?s){reason}"):
        client.load_model(model)


def test_a_corrupt_model_fails_with_the_words_of_onnx_runtime(
    repository: Path, client: triton.InferenceServerClient
) -> None:
    add_model(repository, "corrupt")
    (repository / "corrupt" / "1" / "model.onnx").write_bytes(b"no protobuf at all")

    with pytest.raises(
        InferenceServerException, match=r"onnx runtime error 7: .*Protobuf parsing failed"
    ):
        client.load_model("corrupt")


def test_a_request_of_a_wrong_shape_is_refused_and_the_server_lives(
    repository: Path, client: triton.InferenceServerClient
) -> None:
    add_model(repository, "shapes")
    client.load_model("shapes")

    with pytest.raises(InferenceServerException, match="unexpected shape for input 'x'"):
        infer(client, "shapes", {"x": np.zeros((1, 3), np.float32)})

    assert infer(client, "shapes", {"x": np.float32([[0, 0]])}).as_numpy("y").tolist() == [[1, 1]]


def test_unloading_ends_the_stub(
    repository: Path, client: triton.InferenceServerClient, server: TritonServer
) -> None:
    before = stubs(server)
    add_model(repository, "leaving")
    client.load_model("leaving")
    came = stubs(server) - before
    assert len(came) == 1
    # Triton can crash when an unload follows a load within some milliseconds.
    for _ in range(100):
        infer(client, "leaving", {"x": np.float32([[0, 0]])})

    client.unload_model("leaving")

    assert wait_until(lambda: not came & stubs(server), WITHIN_S)


def test_loading_needs_the_admin_key(tmp_path: Path, start_triton: StartTriton) -> None:
    add_model(tmp_path / "repository", "add")
    server = start_triton(tmp_path / "repository", admin_key="secret")
    with connect(server) as client:
        with pytest.raises(InferenceServerException, match="protocol is restricted"):
            client.load_model("add")

        client.load_model("add", headers={"triton-grpc-protocol-admin-key": "secret"})

        assert client.is_model_ready("add")


def test_without_explicit_control_all_models_load_at_the_start(
    tmp_path: Path, start_triton: StartTriton
) -> None:
    add_model(tmp_path / "repository", "add")
    server = start_triton(tmp_path / "repository", control_mode="none")

    with connect(server) as client:
        assert client.is_model_ready("add")


def test_a_crashed_server_comes_back_on_its_ports(
    tmp_path: Path, start_triton: StartTriton
) -> None:
    add_model(tmp_path / "repository", "add")
    server = start_triton(tmp_path / "repository", name="crashing")
    crashed = server.pid
    with connect(server) as client:
        client.load_model("add")
    left_behind = stubs(server)
    events: list[str] = []

    with Supervisor([server], events.append):
        server.kill()
        assert wait_until(lambda: server.pid != crashed, WITHIN_S)
        server.wait_live(LIVE_TIMEOUT_S)
        with connect(server) as client:
            assert client.is_server_live()
            assert not client.is_model_ready("add")

    assert len(left_behind) == 1
    assert group_members(crashed) == []
    assert any("starting it again" in event for event in events)


def test_stopping_leaves_nothing_behind(tmp_path: Path, start_triton: StartTriton) -> None:
    add_model(tmp_path / "repository", "add")
    server = start_triton(tmp_path / "repository", name="leaving-nothing")
    with connect(server) as client:
        client.load_model("add")
    assert len(group_members(server.pid)) == 2
    assert shared_memory_of("leaving-nothing")

    server.stop()

    assert group_members(server.pid) == []
    assert shared_memory_of("leaving-nothing") == []


def test_a_taken_port_is_named(tmp_path: Path, start_triton: StartTriton) -> None:
    (tmp_path / "repository").mkdir()
    first = start_triton(tmp_path / "repository", name="first")

    with pytest.raises(ServerDidNotStart, match=f"port {first.grpc_port} of .* is taken"):
        start_triton(tmp_path / "repository", name="second", grpc_port=first.grpc_port)


def test_a_missing_repository_is_named(tmp_path: Path, start_triton: StartTriton) -> None:
    with pytest.raises(ServerDidNotStart, match="repository cannot be read"):
        start_triton(tmp_path / "nowhere")
