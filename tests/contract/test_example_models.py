"""Every model of the example, as published, answers in tritonserver what PyTorch answered."""

from pathlib import Path

import pytest

from contract.compare import compare
from contract.layout import Store
from contract.manifest import read_manifest
from contract.samples import read_golden
from sidecar.adapters.model_store import StoreFolder
from sidecar.adapters.stage import StageFolder
from sidecar.adapters.triton_grpc import TritonGrpc
from sidecar.core.fleet import VersionState
from sidecar.core.stage_config import stage_config
from sidecar.core.wanted import Placement
from tests.fixtures.embedded import StartTriton

LOAD_S = 60.0
QUERY_S = 30.0
VERSIONS = [
    ("long_form", 1),
    ("premium", 1),
    ("session", 1),
    ("short_form", 1),
    ("short_form", 2),
    ("short_form", 3),
    ("thumbnail", 1),
]


@pytest.mark.triton
@pytest.mark.timeout(400)
async def test_every_version_warms_up_and_agrees_with_pytorch_on_every_golden_sample(
    example_store: Path, start_triton: StartTriton, tmp_path: Path
) -> None:
    store, root = Store(example_store), tmp_path / "stage"
    root.mkdir()
    stage, reader = StageFolder(root, store), StoreFolder(store, {})
    triton = start_triton(root)
    compared = []
    async with TritonGrpc(name="serving", url=triton.grpc_address, admin_key=None) as server:
        for model, version in VERSIONS:
            folder = store.version(model, version)
            config = stage_config(folder.config.read_text(), versions=(version,), warmup=True)
            await stage.write(model, Placement(versions=(version,), lead=version, config=config))
            await server.load(model, timeout_s=LOAD_S)
            states = (await server.index())[model]
            assert states[version] is VersionState.READY
            limits = read_manifest(folder.manifest).tolerances
            for sample in read_golden(folder.golden):
                answer = await server.infer(model, version, sample.inputs, timeout_s=QUERY_S)
                wrong = [
                    found.reason
                    for found in compare(answer, sample.outputs, limits)
                    if found.reason
                ]
                assert wrong == [], (model, version)
                compared.append((model, version))
            for request in await reader.warmup_requests(model, version):
                assert await server.infer(model, version, request, timeout_s=QUERY_S)
    assert set(compared) == set(VERSIONS)
