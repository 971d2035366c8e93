"""Large fleets for the benches: as values for the planner, as files for a process."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from contract.dtypes import Datatype
from contract.intent import Intent, Tier
from contract.layout import Store
from contract.manifest import Cost, FileRecord, Manifest, ShapeCost, Signature, TensorSpec
from contract.samples import GoldenSample, write_golden
from sidecar.core.demand import Demand, arrived
from sidecar.core.fleet import (
    Kept,
    Server,
    ServerView,
    Snapshot,
    StoredModel,
    StoredVersion,
    Verification,
    VersionState,
)
from sidecar.core.policy import Policy
from sidecar.core.stage_config import stage_config

MIB = 2**20
NOW_S = 1_000_000.0
LOADED_SHARE = 0.1
REQUESTS = 20
"""Remembered of each model."""
SPARE_BYTES = 64 * MIB
"""What the budget leaves free: less than almost every model takes."""

BASE = "base"
ENSEMBLE = """name: "{name}"
platform: "ensemble"
input {{ name: "x" data_type: TYPE_FP32 dims: [1] }}
output {{ name: "y" data_type: TYPE_FP32 dims: [1] }}
ensemble_scheduling {{
  step {{
    model_name: "{base}"
    model_version: -1
    input_map {{ key: "x" value: "x" }}
    output_map {{ key: "y" value: "y" }}
  }}
}}
"""
IDENTITY = """
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [
            pb_utils.InferenceResponse(
                [pb_utils.Tensor("y", pb_utils.get_input_tensor_by_name(each, "x").as_numpy())]
            )
            for each in requests
        ]
"""


def name_of(number: int) -> str:
    return f"model_{number:05}"


def config_of(name: str) -> str:
    """As long as those that the generator writes."""
    samples = "".join(
        f"""model_warmup {{
  name: "b{batch}"
  batch_size: {batch}
  count: 1
  inputs {{
    key: "x"
    value {{
      data_type: TYPE_FP32
      dims: [16]
      input_data_file: "x-b{batch}.bin"
    }}
  }}
}}
"""
        for batch in (32, 16, 8, 4, 1)
    )
    return f"""name: "{name}"
backend: "onnxruntime"
default_model_filename: "model.onnx"
max_batch_size: 32
input {{
  name: "x"
  data_type: TYPE_FP32
  dims: [16]
}}
output {{
  name: "y"
  data_type: TYPE_FP32
  dims: [16]
}}
version_policy {{ latest {{ num_versions: 1 }} }}
instance_group {{
  kind: KIND_CPU
  count: 1
}}
dynamic_batching {{
  preferred_batch_size: [8, 32]
  max_queue_delay_microseconds: 500
}}
{samples}"""


def manifest_of(name: str, *, held_bytes: int) -> Manifest:
    def tensor(name: str) -> TensorSpec:
        return TensorSpec(name=name, datatype=Datatype.FP32, shape=(16,))

    digest = "0123456789abcdef" * 4
    files = ("config.pbtxt", "golden.npz", "model.onnx", "model.onnx.data", "warmup/x.bin")
    return Manifest(
        model=name,
        version=1,
        fingerprint=digest,
        built_at=datetime(2026, 1, 2, tzinfo=UTC),
        triton="24.10",
        target="cpu",
        tools={"python": "3.11", "torch": "2.13", "onnx": "1.19", "onnxruntime": "1.31"},
        sources={"model.py": digest},
        files={file: FileRecord(sha256=digest, bytes=held_bytes) for file in files},
        signature=Signature(inputs=(tensor("x"),), outputs=(tensor("y"),), max_batch_size=32),
        serving_sha256=digest,
        tolerances={"y": 1e-3},
        cost=Cost(
            disk_bytes=held_bytes,
            private_bytes=held_bytes,
            shared_bytes=0,
            peak_bytes=held_bytes,
            load_s=0.2 + held_bytes / 1e9,
            shapes=tuple(
                ShapeCost(batch=batch, dims={}, first_ms=9.0, steady_ms=1.0, runs_until_steady=4)
                for batch in (1, 8, 32)
            ),
        ),
    )


@dataclass(frozen=True)
class Fleet:
    """A tenth of the models is loaded and kept, all are asked for, and memory is nearly full."""

    resting: Snapshot
    policy: Policy

    @property
    def ticking(self) -> Snapshot:
        """Voluntary loads are due."""
        return replace(self.resting, prewarmed_at_s=0.0)

    @property
    def waiting(self) -> Snapshot:
        """A request waits for a model that is larger than what is free."""
        absent = self.resting.models.keys() - self.resting.kept.keys()
        model = max(absent, key=lambda name: (_held_bytes(self.resting, name), name))
        return replace(self.resting, waiting={model: NOW_S})

    @property
    def restarted(self) -> Snapshot:
        """Triton has come back with nothing loaded."""
        serving = self.resting.servers[Server.SERVING]
        empty = replace(serving, index={}, verified={})
        return replace(self.resting, servers={**self.resting.servers, Server.SERVING: empty})


def fleet(count: int, seed: int = 1) -> Fleet:
    chance = random.Random(seed)  # noqa: S311  (no secret)
    stored = {name_of(number): _stored(name_of(number), chance) for number in range(count)}
    loaded = sorted(stored)[: max(1, round(count * LOADED_SHARE))]
    # All as popular as each other would make every score a tie.
    demand = {name: found for name in stored if (found := _demand(chance))}
    configs = {
        name: stage_config(stored[name].versions[1].config, versions=(1,), warmup=True)
        for name in loaded
    }
    held = sum(_disk_bytes(stored[name]) for name in loaded)
    resting = Snapshot(
        models=stored,
        servers={
            Server.SERVING: ServerView(
                index={name: {1: VersionState.READY} for name in loaded},
                staged=configs,
                verified={
                    name: Verification(versions=frozenset({1}), config=config)
                    for name, config in configs.items()
                },
            ),
            Server.CANARY: ServerView(),
        },
        serving=dict.fromkeys(stored, 1),
        kept={name: Kept(since_s=NOW_S - 10.0, reason="it was asked for") for name in loaded},
        demand=demand,
        prewarmed_at_s=NOW_S,
    )
    policy = Policy(
        soak_s=60.0, parallel_loads=4, budgets={"cpu": held + SPARE_BYTES}, headroom=0.0
    )
    return Fleet(resting=resting, policy=policy)


def _stored(name: str, chance: random.Random) -> StoredModel:
    held_bytes = int(chance.lognormvariate(5.0, 1.0) * MIB)
    version = StoredVersion(
        manifest=manifest_of(name, held_bytes=held_bytes).excerpt, config=config_of(name)
    )
    return StoredModel(name=name, intent=Intent(), versions={1: version})


def _disk_bytes(stored: StoredModel) -> int:
    return stored.versions[1].manifest.cost.disk_bytes


def _held_bytes(snapshot: Snapshot, name: str) -> int:
    return _disk_bytes(snapshot.models[name])


def _demand(chance: random.Random) -> Demand | None:
    """The gaps of one model are alike; those of two may differ by three orders of magnitude."""
    mean_s = 10.0 ** chance.uniform(0.5, 3.5)
    found = None
    for at_s in _times(mean_s, chance):
        found = arrived(found, count=1, since_s=at_s, until_s=at_s)
    return found


def _times(mean_s: float, chance: random.Random) -> Iterator[float]:
    gaps = [chance.expovariate(1.0 / mean_s) for _ in range(REQUESTS)]
    at_s = NOW_S - sum(gaps)
    for gap_s in gaps:
        at_s += gap_s
        yield min(at_s, NOW_S)


def write_store(root: Path, count: int, *, chained: bool = False) -> Store:
    """A store with so many models of one version each, all cold.

    `chained`: each is an ensemble around `BASE`, the cheapest model that Triton can load; else
    the config names a backend, and nothing of them can be loaded.
    """
    store = Store(root)
    for number in range(count):
        name = name_of(number)
        folder = store.version(name, 1)
        folder.path.mkdir(parents=True)
        config = ENSEMBLE.format(name=name, base=BASE) if chained else config_of(name)
        folder.config.write_text(config)
        manifest = manifest_of(name, held_bytes=MIB)
        folder.manifest.write_text(manifest.model_dump_json())
        store.intent(name).write_text(Intent(tier=Tier.COLD).model_dump_json())
        if chained:
            one = np.ones(1, np.float32)
            write_golden(folder.golden, [GoldenSample({"x": one}, {"y": one})])
    return store


def write_base(stage: Path) -> None:
    """Put the model that the ensembles call into the folder that a Triton reads."""
    folder = stage / BASE
    (folder / "1").mkdir(parents=True)
    (folder / "1" / "model.py").write_text(IDENTITY)
    (folder / "config.pbtxt").write_text(
        f"""name: "{BASE}"
backend: "python"
input {{ name: "x" data_type: TYPE_FP32 dims: [1] }}
output {{ name: "y" data_type: TYPE_FP32 dims: [1] }}
"""
    )
