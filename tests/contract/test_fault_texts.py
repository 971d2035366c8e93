"""What a real server says when a load fails, and the kind of fault that it is taken for.

What needs a GPU, or could kill the server, is in `tests/unit/sidecar/test_faults.py` as text.
"""

import asyncio
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from embedded.provision import Installation
from embedded.triton import TritonServer
from sidecar.adapters.triton_grpc import TritonGrpc
from sidecar.core.faults import FaultKind, classify
from sidecar.errors import Refused, ServerLost
from tests.contract.test_embedded_triton import ADD, FLOAT, add_model, save_model, write_config
from tests.fixtures.embedded import StartTriton, running_triton

pytestmark = [pytest.mark.triton, pytest.mark.timeout(120)]

K = FaultKind
LOAD_S = 60.0
SPARE_BYTES = 64 * 2**20
TOO_MANY_BYTES = 2**30
WARM_UP = """
model_warmup {
  name: "one" batch_size: 1
  inputs { key: "x" value { data_type: TYPE_FP32 dims: [2] input_data_file: "x.bin" } }
}
"""
ON_A_GPU = "instance_group { kind: KIND_GPU }"
IN_LITTLE_MEMORY = f"""
import resource, numpy, onnxruntime

class TritonPythonModel:
    def initialize(self, args):
        pages = int(open("/proc/self/statm").read().split()[0])
        limit = pages * resource.getpagesize() + {SPARE_BYTES}
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        folder = args["model_repository"] + "/" + args["model_version"]
        STATEMENT
"""
Make = Callable[[Path, str], None]


def with_bytes(content: bytes) -> Make:
    def make(repository: Path, name: str) -> None:
        add_model(repository, name)
        (repository / name / "1" / "model.onnx").write_bytes(content)

    return make


def without_its_file(repository: Path, name: str) -> None:
    add_model(repository, name)
    (repository / name / "1" / "model.onnx").unlink()


def without_its_weights(repository: Path, name: str) -> None:
    save_model(
        repository / name / "1" / "model.onnx",
        [helper.make_node("Add", ["x", "one"], ["y"])],
        [("x", FLOAT, ["n", 2])],
        [("y", FLOAT, ["n", 2])],
        constants={"one": np.ones(2, np.float32)},
        external=True,
    )
    (repository / name / "1" / "model.onnx.data").unlink()
    write_config(repository, name, ADD)


def without_a_version(repository: Path, name: str) -> None:
    add_model(repository, name)
    shutil.rmtree(repository / name / "1")


def with_config(text: str) -> Make:
    def make(repository: Path, name: str) -> None:
        add_model(repository, name)
        (repository / name / "config.pbtxt").write_text(text)

    return make


def with_warm_up(data: bytes | None) -> Make:
    """Both are refused before the sample runs; one that fails while it runs can kill."""

    def make(repository: Path, name: str) -> None:
        add_model(repository, name, ADD + WARM_UP)
        (repository / name / "warmup").mkdir()
        if data is not None:
            (repository / name / "warmup" / "x.bin").write_bytes(data)

    return make


def in_little_memory(statement: str) -> Make:
    """`statement` runs in the stub, on a model that makes gigabytes of one number."""

    def make(repository: Path, name: str) -> None:
        folder = repository / name / "1"
        save_model(
            folder / "model.onnx",
            [helper.make_node("Expand", ["x", "shape"], ["y"])],
            [("x", FLOAT, [1])],
            [("y", FLOAT, ["n"])],
            constants={"shape": np.int64([TOO_MANY_BYTES])},
        )
        (folder / "model.py").write_text(IN_LITTLE_MEMORY.replace("STATEMENT", statement))
        (repository / name / "config.pbtxt").write_text(f'backend: "python"\n{ADD}')

    return make


FAULTS: Mapping[str, tuple[Make, FaultKind]] = {
    "a file that is no protobuf": (with_bytes(b"nothing of the kind"), K.CORRUPT),
    "a file that was cut off": (with_bytes(b"\x08\x0a\x3a\xf0\x01"), K.CORRUPT),
    "an empty file": (with_bytes(b""), K.CORRUPT),
    "no file": (without_its_file, K.MISSING_FILE),
    "no file of weights": (without_its_weights, K.MISSING_FILE),
    "no version": (without_a_version, K.MISSING_FILE),
    "a config that is none": (with_config("no { config"), K.MISSING_FILE),
    "no such backend": (with_config(f'backend: "tensorrt"\n{ADD}'), K.BACKEND_MISSING),
    "no such platform": (with_config(f'platform: "nonesuch"\n{ADD}'), K.MISSING_FILE),
    "no GPU": (with_config(ADD + ON_A_GPU), K.NO_GPU),
    "no GPU of that number": (with_config(ADD + ON_A_GPU.replace("}", "gpus: 7 }")), K.NO_GPU),
    "too little warm-up data": (with_warm_up(bytes(3)), K.WARM_UP),
    "no warm-up data": (with_warm_up(None), K.MISSING_FILE),
    "Python out of memory": (in_little_memory(f"bytes({TOO_MANY_BYTES})"), K.OUT_OF_MEMORY),
    "numpy out of memory": (in_little_memory(f"numpy.ones({TOO_MANY_BYTES})"), K.OUT_OF_MEMORY),
    "ONNX Runtime out of memory": (
        in_little_memory(
            'onnxruntime.InferenceSession(folder + "/model.onnx").run('
            'None, {"x": numpy.ones(1, numpy.float32)})'
        ),
        K.OUT_OF_MEMORY,
    ),
}


@pytest.fixture(scope="module")
def server(
    installation: Installation, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TritonServer]:
    folder = tmp_path_factory.mktemp("faults")
    (folder / "repository").mkdir()
    with running_triton(installation, folder / "repository", folder / "triton.log") as server:
        yield server


@pytest.fixture(scope="module")
def reasons(server: TritonServer) -> Mapping[str, str]:
    """What the server says of each; it loads them all at once."""
    for name, (make, _) in FAULTS.items():
        make(server.repository, _model(name))

    async def load_all() -> list[str]:
        async with _connect(server) as client:
            return await asyncio.gather(*(_refusal(client, _model(name)) for name in FAULTS))

    return dict(zip(FAULTS, asyncio.run(load_all()), strict=True))


@pytest.mark.parametrize("name", FAULTS)
def test_the_servers_text_tells_the_kind_of_fault(reasons: Mapping[str, str], name: str) -> None:
    _, kind = FAULTS[name]

    assert classify(reasons[name], lost=False) is kind, reasons[name]


async def test_a_load_that_takes_too_long_is_a_timeout_and_a_dead_server_is_lost(
    start_triton: StartTriton, tmp_path: Path
) -> None:
    (tmp_path / "repository").mkdir()
    add_model(tmp_path / "repository", "endless")
    model = tmp_path / "repository" / "endless" / "1" / "model.onnx"
    model.unlink()
    # Who opens it waits for a writer.
    os.mkfifo(model)
    server = start_triton(tmp_path / "repository")
    async with _connect(server) as client:
        with pytest.raises(ServerLost) as late:
            await client.load("endless", timeout_s=0.001)
        server.kill()
        with pytest.raises(ServerLost) as dead:
            await client.load("endless", timeout_s=LOAD_S)

    assert classify(str(late.value), lost=True) is K.TIMEOUT
    assert classify(str(dead.value), lost=True) is K.SERVER_LOST


def _connect(server: TritonServer) -> TritonGrpc:
    return TritonGrpc(name="serving", url=server.grpc_address, admin_key=None)


def _model(name: str) -> str:
    return name.replace(" ", "_")


async def _refusal(client: TritonGrpc, model: str) -> str:
    with pytest.raises(Refused) as refused:
        await client.load(model, timeout_s=LOAD_S)
    return str(refused.value)
