"""Short words for long values, so that tests read as a specification.

The first half makes values of `sidecar.core`; the second publishes versions into a store on
disk. The model is always the same tiny one: `x FP32[2] -> y FP32[2]`, y = 2 x.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from contract.dtypes import Datatype
from contract.intent import Intent, Tier
from contract.layout import ONNX_MODEL, Store
from contract.manifest import (
    Cost,
    FileRecord,
    Manifest,
    Signature,
    TensorSpec,
    record_files,
)
from contract.samples import GoldenSample, Tensors, warmup_bytes, write_golden
from sidecar.core.agreement import Agreement
from sidecar.core.demand import Demand, arrived
from sidecar.core.faults import FaultKind, quarantine_until_s
from sidecar.core.fleet import (
    CheckKind,
    Desired,
    Failure,
    Kept,
    Operation,
    OperationKind,
    Outcome,
    Quarantine,
    Server,
    ServerView,
    Snapshot,
    StoredModel,
    StoredVersion,
    Verification,
    VersionState,
)
from sidecar.core.policy import Policy
from sidecar.core.release import Asked, Release, ReleaseState, Step, admit
from sidecar.core.stage_config import stage_config
from sidecar.core.trial import Pair, Race, Trial
from sidecar.core.wanted import Placement

NOW_S = 1_000.0
SOAK_S = 60.0
MIB = 2**20
POLICY = Policy(soak_s=SOAK_S, parallel_loads=4)
READY, UNAVAILABLE = VersionState.READY, VersionState.UNAVAILABLE
SERVING, CANARY = Server.SERVING, Server.CANARY

_S = ReleaseState
_WAY = (
    _S.ADMITTED,
    _S.CANARY_LOADING,
    _S.VERIFYING,
    _S.CANARY_WARMING,
    _S.MEASURING,
    _S.COMPARING,
    _S.PROMOTING,
    _S.SOAKING,
    _S.FINISHING,
    _S.DONE,
)
_COMPARED = _WAY[:6]
_SOAKED = _WAY[:8]
_WAY_TO = {
    _S.REFUSED: (_S.ADMITTED, _S.REFUSED),
    _S.AWAITING: (*_COMPARED, _S.AWAITING),
    _S.PINNING: (*_COMPARED, _S.PINNING),
    _S.SHIFTING: (*_COMPARED, _S.PINNING, _S.PROMOTING, _S.SHIFTING),
    _S.RESTORING: (*_WAY, _S.RESTORING),
    _S.ROLLING_BACK: (*_SOAKED, _S.ROLLING_BACK),
    _S.ROLLED_BACK: (*_SOAKED, _S.ROLLING_BACK, _S.ROLLED_BACK),
}


def config_text(model: str = "m", *, max_batch_size: int = 8, preferred: int = 4) -> str:
    """A complete config of the tiny model, with one warm-up sample of batch 2."""
    return f"""name: "{model}"
backend: "onnxruntime"
max_batch_size: {max_batch_size}
input {{ name: "x" data_type: TYPE_FP32 dims: [2] }}
output {{ name: "y" data_type: TYPE_FP32 dims: [2] }}
version_policy {{ latest {{ num_versions: 1 }} }}
instance_group {{ kind: KIND_CPU count: 1 }}
dynamic_batching {{ preferred_batch_size: [{preferred}] }}
model_warmup {{
  name: "b2"
  batch_size: 2
  inputs {{
    key: "x"
    value {{ data_type: TYPE_FP32 dims: [2] input_data_file: "x.bin" }}
  }}
}}
"""


def tensor(name: str, *shape: int, datatype: Datatype = Datatype.FP32) -> TensorSpec:
    return TensorSpec(name=name, datatype=datatype, shape=shape)


def signature(*, outputs: Iterable[TensorSpec] = (), max_batch_size: int = 8) -> Signature:
    return Signature(
        inputs=(tensor("x", 2),),
        outputs=tuple(outputs) or (tensor("y", 2),),
        max_batch_size=max_batch_size,
    )


def manifest(
    model: str = "m",
    version: int = 1,
    *,
    disk_bytes: int = MIB,
    files: Mapping[str, FileRecord] | None = None,
    signed: Signature | None = None,
) -> Manifest:
    return Manifest(
        model=model,
        version=version,
        fingerprint="f",
        built_at=datetime(2026, 1, 2, tzinfo=UTC),
        triton="24.10",
        target="cpu",
        tools={},
        sources={},
        files=dict(files or {}),
        signature=signed or signature(),
        serving_sha256="s",
        tolerances={"y": 1e-3},
        cost=Cost(
            disk_bytes=disk_bytes,
            private_bytes=disk_bytes,
            shared_bytes=0,
            peak_bytes=disk_bytes,
            load_s=0.1,
            shapes=(),
        ),
    )


def version(
    number: int = 1,
    *,
    of: str = "m",
    disk_bytes: int = MIB,
    signed: Signature | None = None,
    preferred: int = 4,
) -> StoredVersion:
    return StoredVersion(
        manifest=manifest(of, number, disk_bytes=disk_bytes, signed=signed).excerpt,
        config=config_text(of, preferred=preferred),
    )


def model(
    name: str = "m",
    *,
    versions: Iterable[int] = (1,),
    tier: str = "cold",
    disk_bytes: int = MIB,
    **intent: Any,
) -> StoredModel:
    """Each version has a config of its own, as the generator may write it. It holds as many
    bytes as it has on disk."""
    return StoredModel(
        name=name,
        intent=Intent(tier=Tier(tier), **intent),
        versions={
            number: version(number, of=name, disk_bytes=disk_bytes, preferred=number)
            for number in versions
        },
    )


def placed(
    stored: StoredModel, *versions: int, lead: int | None = None, warmup: bool = True
) -> Placement:
    """What a server is to hold; the lead is the newest of `versions` unless given."""
    lead = lead or max(versions)
    config = stage_config(stored.versions[lead].config, versions=versions, warmup=warmup)
    return Placement(versions=versions, lead=lead, config=config)


def holding(
    stored: StoredModel, *versions: int, lead: int | None = None, warmup: bool = True
) -> ServerView:
    """A server that was proven to hold exactly these versions."""
    wanted = placed(stored, *versions, lead=lead, warmup=warmup)
    return ServerView(
        index={stored.name: dict.fromkeys(versions, READY)},
        staged={stored.name: wanted.config},
        verified={
            stored.name: Verification(versions=frozenset(versions), config=wanted.config),
        },
    )


def server(*views: ServerView, problem: str | None = None) -> ServerView:
    """Several models on one server: `server(holding(a, 1), holding(b, 2))`."""
    return ServerView(
        problem=problem,
        index={name: states for view in views for name, states in view.index.items()},
        staged={name: text for view in views for name, text in view.staged.items()},
        verified={name: found for view in views for name, found in view.verified.items()},
    )


def unverified(view: ServerView) -> ServerView:
    """The same server as a sidecar sees it that has just started."""
    return replace(view, verified={})


def snapshot(
    *models: StoredModel,
    serving: ServerView | None = None,
    canary: ServerView | None = None,
    recorded: Mapping[str, int] | None = None,
    asked: Mapping[str, bool] | None = None,
    releases: Iterable[Release] = (),
    operations: Iterable[Operation] = (),
    busy: Iterable[tuple[Server, str]] = (),
    checking: Iterable[str] = (),
    failures: Mapping[tuple[Server, str], Failure] | None = None,
    outcomes: Mapping[tuple[str, CheckKind], Outcome] | None = None,
    store_problems: Iterable[str] = (),
    **more: Any,
) -> Snapshot:
    """`more` are fields of the snapshot as they are; no voluntary load is due unless said."""
    return Snapshot(
        models={stored.name: stored for stored in models},
        servers={SERVING: serving or ServerView(), CANARY: canary or ServerView()},
        desired={
            name: Desired(loaded=loaded, requested_at_s=NOW_S)
            for name, loaded in (asked or {}).items()
        },
        serving=dict(recorded or {}),
        releases={release.model: release for release in releases},
        operations=tuple(operations),
        busy=frozenset(busy),
        checking=frozenset(checking),
        failures=dict(failures or {}),
        outcomes=dict(outcomes or {}),
        store_problems=tuple(store_problems),
        **{"prewarmed_at_s": NOW_S, **more},
    )


def release(
    state: ReleaseState,
    *,
    of: str = "m",
    version: int = 2,
    base: int | None = 1,
    at_s: float = NOW_S,
    **more: Any,
) -> Release:
    """A release that went its shortest way to `state`; `more` are fields as they are."""
    way = _WAY_TO.get(state, _WAY[: _WAY.index(state) + 1] if state in _WAY else ())
    found = admit(
        release_id=f"{of}.{version}", model=of, version=version, base=base, actor="ann", at_s=at_s
    )
    for step in way[1:]:
        found = found.entered(step, at_s=at_s, note=f"came to {step}")
    return replace(found, **more)


def moved(
    before: Release,
    *steps: tuple[ReleaseState, str],
    at_s: float = NOW_S,
    by: Asked | None = None,
    **more: Any,
) -> Release:
    """The release after further steps, without the help of `Release.entered`."""
    actor, asked = (by.actor, by.operation) if by else (None, None)
    added = tuple(
        Step(state=state, at_s=at_s, note=note, actor=actor, operation=asked)
        for state, note in steps
    )
    return replace(before, state=steps[-1][0], steps=(*before.steps, *added), **more)


def raced(*, pairs: int = 50, slower: int = 0, far_slower: int = 0, far_faster: int = 0) -> Race:
    """Latencies of one shape: 1 ms against 1 ms, but for `slower` times 1.5 ms."""
    latest = [Pair(1.0, 1.5)] * slower + [Pair(1.0, 1.0)] * (pairs - slower)
    return Race(
        pairs=pairs,
        slower=slower,
        far_slower=far_slower,
        far_faster=far_faster,
        latest=tuple(latest[-100:]),
    )


def trial(*, base: int = 1, version: int = 2, **more: Any) -> Trial:
    """One that went well, over 50 requests; `more` are fields as they are."""
    agreed = Agreement(requests=50, agreeing=50, rows=200, same_top=200)
    fields: dict[str, Any] = {
        "rounds": 1,
        "races": {"batch 1": raced()},
        "outputs": {"y": agreed},
        "requests": 50,
    }
    return Trial(base=base, version=version, began_s=NOW_S, **(fields | more))


def operation(
    kind: OperationKind, *, of: str = "m", on: str | None = None, at_s: float = NOW_S
) -> Operation:
    return Operation(
        id=f"{kind}-{of}", kind=kind, model=of, actor="bob", created_at_s=at_s, release_id=on
    )


def failure(
    wanted: Placement,
    reason: str = "Internal: no",
    *,
    lost: bool = False,
    attempts: int = 1,
    at_s: float = NOW_S,
) -> Failure:
    return Failure(reason=reason, lost=lost, attempts=attempts, at_s=at_s, config=wanted.config)


def kept(*models: str, since_s: float = NOW_S, reason: str = "it was needed") -> dict[str, Kept]:
    return {name: Kept(since_s=since_s, reason=reason) for name in models}


def asked_at(*times_s: float) -> Demand:
    """One request at each time."""
    found = None
    for at_s in times_s:
        found = arrived(found, count=1, since_s=at_s, until_s=at_s)
    assert found is not None
    return found


def quarantine(
    *, reason: str = "Internal: no", times: int = 1, newest: int = 1, at_s: float = NOW_S
) -> Quarantine:
    """Of a cause that nobody knows: it ends by itself."""
    return Quarantine(
        since_s=at_s,
        until_s=quarantine_until_s(times, at_s),
        times=times,
        newest=newest,
        kind=FaultKind.UNKNOWN,
        reason=reason,
    )


def publish(
    store: Store,
    name: str = "m",
    number: int = 1,
    *,
    tier: str = "cold",
    scale: float = 2.0,
    broken: str | None = None,
    broken_warmup: str | None = None,
    wrong_above: float = 1e9,
    refuses: float | None = None,
    signed: Signature | None = None,
    preferred: int = 4,
    warmup_x: tuple[float, float] = (1.0, 2.0),
) -> None:
    """Put a version into a store on disk.

    `tests.fakes.triton` computes y = `scale` x, but 0 where x is `wrong_above`, and fails for
    an x that it `refuses`; the golden samples say y = 2 x. `broken` is the backend's text at
    load, `broken_warmup` the one when Triton runs `model_warmup`.
    """
    folder = store.version(name, number)
    folder.warmup.mkdir(parents=True)
    behaviour = {
        "scale": scale,
        "broken": broken,
        "broken_warmup": broken_warmup,
        "wrong_above": wrong_above,
        "refuses": refuses,
    }
    (folder.path / ONNX_MODEL).write_text(json.dumps(behaviour))
    folder.config.write_text(config_text(name, preferred=preferred))
    (folder.warmup / "x.bin").write_bytes(warmup_bytes(np.float32(warmup_x)))
    write_golden(folder.golden, golden_samples())
    written = manifest(name, number, files=record_files(folder.path), signed=signed)
    folder.manifest.write_text(written.model_dump_json())
    store.intent(name).write_text(Intent(tier=Tier(tier)).model_dump_json())


def golden_samples() -> list[GoldenSample]:
    """Batches of 1, 2 and twice 8: as many rows as it takes to tell that two versions agree."""
    eight = np.float32([[n, -n] for n in range(1, 9)])
    first = (np.float32([[1.0, -3.0]]), np.float32([[0.5, 2.0], [4.0, 8.0]]))
    return [GoldenSample({"x": x}, {"y": 2 * x}) for x in (*first, eight, -eight / 4)]


def request(*x: float) -> Tensors:
    """A request of batch 1 for the tiny model."""
    return {"x": np.float32([x])}


def publish_many(root: Path, models: Mapping[str, Iterable[int]], **changes: str) -> Store:
    """A store with good versions only: `publish_many(path, {"m": [1, 2]}, tier="hot")`."""
    store = Store(root)
    for name, numbers in models.items():
        for number in numbers:
            publish(store, name, number, tier=changes.get("tier", "cold"), preferred=number)
    return store
