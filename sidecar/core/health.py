"""Everything that was looked at, one finding each: what is the case, and else what to do."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from contract.config import CACHED_CONFIGS, parse_config
from sidecar.core.actions import Blocked
from sidecar.core.faults import ended_by
from sidecar.core.fleet import Server, ServerView, Snapshot
from sidecar.core.overflow import crowding, hot_overflow
from sidecar.core.policy import Policy
from sidecar.core.status import Warmth, model_status
from sidecar.core.wanted import wanted_models

OLDEST_TESTED = (2, 51)
"""Of Triton, in release 24.10."""
# The docs of release 23.04 are the first to tell of it (server#5397); the one for HTTP is in the
# release notes of 23.11 (server#6607).
RESTRICTS_GRPC, RESTRICTS_HTTP = (2, 33), (2, 40)
SHOWN_MODELS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """`detail` says what is the case, and where that is not right what to do about it."""

    name: str
    ok: bool
    detail: str


def findings(
    snapshot: Snapshot, policy: Policy, blocked: Mapping[str, Blocked], now_s: float
) -> Iterator[Finding]:
    """All of them, also what is as it should be. Not all keep us from being ready.

    `blocked` is that of the present plan.
    """
    for server, view in snapshot.servers.items():
        yield Finding(
            name=f"server {server}", ok=view.problem is None, detail=view.problem or "answers"
        )
    problems = snapshot.store_problems
    yield Finding(name="store", ok=not problems, detail="; ".join(problems) or "readable")
    if snapshot.servers[Server.SERVING].problem is None:
        meter = snapshot.meter_problem
        yield Finding(name="memory", ok=meter is None, detail=meter or "measured")
    yield from surroundings(snapshot, policy)
    yield _fits(snapshot, policy)
    hot = snapshot.hot_models()
    for name in sorted(hot):
        status = model_status(snapshot, name, blocked)
        is_warm = status.warmth is Warmth.WARMED
        detail = "loaded, warmed and probed" if is_warm else status.reason
        yield Finding(name=f"model {name}", ok=is_warm, detail=detail)
    for name, quarantine in sorted(snapshot.quarantine.items()):
        if name in snapshot.models and name not in hot and quarantine.holds(now_s):
            detail = f"in quarantine: {quarantine}; {ended_by(quarantine.kind)} ends it"
            yield Finding(name=f"model {name}", ok=False, detail=detail)


def _fits(snapshot: Snapshot, policy: Policy) -> Finding:
    problems = [*hot_overflow(snapshot, policy), *crowding(snapshot, policy)]
    detail = "; ".join(map(str, problems)) or "the hot models leave room for each of the others"
    return Finding(name="fits", ok=not problems, detail=detail)


def surroundings(snapshot: Snapshot, policy: Policy) -> Iterator[Finding]:
    """What of the findings no event of its own tells."""
    for server, view in snapshot.servers.items():
        is_shadow = snapshot.shadows and server is Server.CANARY
        if view.problem is None and not is_shadow:
            yield from _server(server, view)
    yield from _gpus(snapshot, policy)
    for name, problem in sorted(snapshot.troubles.items()):
        yield Finding(name=name, ok=False, detail=problem)


def _server(server: Server, view: ServerView) -> Iterator[Finding]:
    stage = view.stage_problem
    yield Finding(
        name=f"stage {server}",
        ok=stage is None,
        detail=str(stage or "what is put there can be loaded"),
    )
    if view.about is None:
        return
    lacking = _lacking(view.about.version)
    yield Finding(
        name=f"version {server}",
        ok=lacking is None,
        detail=f"Triton {view.about.version}" + (f": {lacking}" if lacking else ""),
    )
    yield Finding(
        name=f"readiness {server}",
        ok=view.about.is_ready,
        detail="Triton says that it is ready"
        if view.about.is_ready
        else "Triton says that it is not ready, although it answers: in strict mode one failed "
        "load is enough; start it with --strict-readiness=false, or its health checks will end it",
    )


def _lacking(version: str) -> str | None:
    """What speaks against a version of Triton; None for one that is not numbered."""
    major, _, rest = version.partition(".")
    minor = rest.partition(".")[0]
    if not (major.isdecimal() and minor.isdecimal()):
        return None
    number = int(major), int(minor)
    if number >= OLDEST_TESTED:
        return None
    remedy = "use release 24.10 (2.51) or a newer one"
    if number < RESTRICTS_GRPC:
        return f"anybody can load and unload, --grpc-restricted-protocol came with 23.04; {remedy}"
    if number < RESTRICTS_HTTP:
        return f"anybody can unload over HTTP, --http-restricted-api came with 23.11; {remedy}"
    return f"Pilotlight was not tested with it; {remedy}"


def _gpus(snapshot: Snapshot, policy: Policy) -> Iterator[Finding]:
    """Only where somebody asks for one, by a budget or in a wanted model's config."""
    asked = sorted(device for device in policy.budgets if device.startswith("gpu:"))
    models = sorted(model for model in wanted_models(snapshot) if _asks_for_gpu(snapshot, model))
    if not asked and not models:
        return
    there = sorted(device for device in snapshot.readings if device.startswith("gpu:"))
    by = " and ".join([*(f"the budget of {device}" for device in asked), *_shown(models)])
    if not snapshot.sees_gpus or not snapshot.readings:
        detail = (
            f"asked for by {by}; whether the serving server has one is not known: give the URL of "
            "its metrics in servers.serving.metrics"
        )
        yield Finding(name="gpu", ok=True, detail=detail)
    elif not set(asked) <= set(there) or not there:
        detail = (
            f"asked for by {by}, but the serving server has {', '.join(there) or 'none'}; start "
            "it with the GPU, or build the models with `target: cpu`, and with `kind: cpu` where "
            "their recipes have `instances`, and mend policy.budgets"
        )
        yield Finding(name="gpu", ok=False, detail=detail)
    else:
        yield Finding(name="gpu", ok=True, detail=f"the serving server has {', '.join(there)}")


def _shown(models: list[str]) -> list[str]:
    if not models:
        return []
    more = len(models) - SHOWN_MODELS
    others = f" and {more} others" if more > 0 else ""
    return [f"KIND_GPU in the config of {', '.join(models[:SHOWN_MODELS])}{others}"]


def _asks_for_gpu(snapshot: Snapshot, model: str) -> bool:
    stored = snapshot.models[model]
    version = snapshot.serving.get(model, stored.newest)
    found = stored.versions.get(version)
    return found is not None and _wants_gpu(found.config)


@lru_cache(CACHED_CONFIGS)
def _wants_gpu(config: str) -> bool:
    groups = parse_config(config, "its config.pbtxt").instance_group
    return any(group.kind == group.KIND_GPU for group in groups)
