"""What Pilotlight promises, act by act. Each act returns what it proved."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from contract.compare import compare
from contract.samples import Tensors
from embedded.process import wait_until
from pilotlight.admin import Admin, OperationFailed
from pilotlight.demo.clients import (
    Client,
    GrpcClient,
    HttpClient,
    RequestFailed,
    Traffic,
    steady_ms,
)
from pilotlight.demo.cold import ColdStart
from pilotlight.demo.proof import Proof
from pilotlight.demo.shelf import CORRUPT, GOOD, SUBTLY_WRONG, Shelf
from pilotlight.paths import ROOT
from pilotlight.stack import Stack

HOT = ("premium", "short_form")
LAZY = "long_form"
RELEASED = "short_form"
TIMEOUT_S = 120.0
POLL_S = 0.01
# A warmed first request must beat a first request on demand by at least this factor.
WORTH_IT = 5.0


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything an act needs."""

    stack: Stack
    shelf: Shelf
    admin: Admin
    requests: dict[str, Tensors]

    def grpc(self) -> Client:
        return GrpcClient(self.stack.serving.grpc_address)

    def traffic(self) -> Traffic:
        """Two clients over gRPC and one over HTTP, without a pause."""
        clients: dict[str, Callable[[], Client]] = {
            "grpc-1": self.grpc,
            "grpc-2": self.grpc,
            "http": lambda: HttpClient(self.stack.serving.http_port),
        }
        return Traffic(clients, RELEASED, self.requests[RELEASED])


def hot_before_ready(stage: Stage) -> tuple[list[Proof], dict[str, float]]:
    """Poll /readyz until 200, then be the first user of each hot model; returns milliseconds."""
    began_s = time.monotonic()
    refusals = 0
    while not (readiness := stage.admin.readiness())["ready"]:
        refusals += 1
        if time.monotonic() - began_s > TIMEOUT_S:
            raise TimeoutError(f"not ready: {readiness['missing']}")
        time.sleep(POLL_S)
    ready_s = time.monotonic() - began_s
    client = stage.grpc()
    first_ms = {}
    right = True
    for model in HOT:
        answer = client.infer(model, stage.requests[model])
        first_ms[model] = 1000 * answer.seconds
        right = right and _is_right(stage, model, answer.outputs)
    client.close()
    firsts = ", ".join(f"{model} {ms:.1f} ms" for model, ms in first_ms.items())
    return [
        Proof(
            "/readyz turns 200 only when every hot model is proven, loaded and warmed",
            f"503 {refusals} times, 200 after {ready_s:.1f} s; first requests then: {firsts}",
            refusals > 0 and right,
        )
    ], first_ms


def cold_model_on_request(stage: Stage) -> tuple[list[Proof], dict[str, float]]:
    """Ask for a cold model over REST, then be its first user; returns milliseconds.

    Asked twice: only the very first time is the version proven on canary before.
    """
    before = stage.admin.model(LAZY)["warmth"]
    proven_s = _timed(stage, f"/v1/models/{LAZY}:load")
    _timed(stage, f"/v1/models/{LAZY}:unload")
    between = stage.admin.model(LAZY)["warmth"]
    loaded_s = _timed(stage, f"/v1/models/{LAZY}:load")
    client = stage.grpc()
    answer = client.infer(LAZY, stage.requests[LAZY])
    client.close()
    first_ms = 1000 * answer.seconds
    return [
        Proof(
            f"{LAZY} (cold) is loaded and warmed when asked for",
            f"the first time ever, proven on canary: {proven_s:.1f} s; unloaded and asked for "
            f"again: {loaded_s:.1f} s; first request then {first_ms:.1f} ms",
            before == between == "disk" and _is_right(stage, LAZY, answer.outputs),
        )
    ], {LAZY: first_ms}


def no_cold_start(
    stage: Stage, cold: dict[str, ColdStart], warmed_first_ms: dict[str, float]
) -> list[Proof]:
    """Compare the first user's wait with and without us."""
    proofs = []
    client = stage.grpc()
    for model, without in cold.items():
        warmed_ms = warmed_first_ms[model]
        steady = steady_ms(client, model, stage.requests[model])
        on_demand_ms = 1000 * without.load_s + without.first_ms
        proofs.append(
            Proof(
                f"no cold start on {model}",
                f"first request loaded on demand: {on_demand_ms:.0f} ms; loaded, not warmed: "
                f"{without.first_ms:.1f} ms; warmed by us: {warmed_ms:.1f} ms; steady: "
                f"{steady:.1f} ms. Warmed is {on_demand_ms / warmed_ms:.0f} x and "
                f"{without.first_ms / warmed_ms:.1f} x faster",
                on_demand_ms > WORTH_IT * warmed_ms,
            )
        )
    client.close()
    return proofs


def promotion_and_rollback(stage: Stage) -> list[Proof]:
    """Promote the good version under traffic, then go back while it soaks."""
    stage.shelf.publish(RELEASED, GOOD)
    with stage.traffic() as traffic:
        began_s = time.monotonic()
        operation = stage.admin.ask(f"/v1/models/{RELEASED}/releases", {"version": GOOD})
        _wait_for_state(stage, operation, "soaking")
        traffic.wait_for(GOOD, since_s=began_s, timeout_s=TIMEOUT_S)
        promoted_s = time.monotonic() - began_s
        asked_s = time.monotonic()
        rollback = stage.admin.ask(f"/v1/models/{RELEASED}:rollback")
        last_new_s = traffic.wait_for(1, since_s=asked_s, timeout_s=TIMEOUT_S)
        stage.admin.wait(rollback, TIMEOUT_S)
        failed, by_version = traffic.failed, traffic.by_version
    total = by_version.total() + len(failed)
    return [
        Proof(
            f"{RELEASED} {GOOD} promoted and rolled back under traffic without a lost request",
            f"{total} requests, {len(failed)} failed; answered by version 1: {by_version[1]}, "
            f"by version {GOOD}: {by_version[GOOD]}; proven and promoted in {promoted_s:.1f} s",
            not failed and by_version[1] > 0 and by_version[GOOD] > 0,
        ),
        Proof(
            "rollback within the soak is a matter of milliseconds",
            f"{1000 * (last_new_s - asked_s):.0f} ms from the REST call to the last answer of "
            f"version {GOOD}",
            last_new_s - asked_s < 1.0,
        ),
    ]


def bad_versions_refused(stage: Stage) -> list[Proof]:
    """Release two bad versions under traffic; serving must not notice."""
    proofs = []
    for version, kind in ((SUBTLY_WRONG, "subtly wrong"), (CORRUPT, "corrupt")):
        stage.shelf.publish(RELEASED, version)
        with stage.traffic() as traffic:
            operation = stage.admin.ask(f"/v1/models/{RELEASED}/releases", {"version": version})
            try:
                stage.admin.wait(operation, TIMEOUT_S)
                reason = "it was promoted"
            except OperationFailed:
                reason = stage.admin.release(operation["release"])["reason"]
            state = stage.admin.release(operation["release"])["state"]
            failed, by_version = traffic.failed, traffic.by_version
        proofs.append(
            Proof(
                f"the {kind} version {version} is refused on canary, serving untouched",
                f"{_brief(reason)} ({by_version.total()} requests meanwhile, {len(failed)} failed)",
                state == "refused" and not failed and set(by_version) == {1},
            )
        )
    return proofs


def triton_killed(stage: Stage) -> list[Proof]:
    """SIGKILL the serving Triton; everything recorded comes back without a person."""
    recorded = _ready_versions(stage)
    killed_s = time.monotonic()
    stage.stack.serving.kill()
    back_s = {}
    for model in recorded:
        _until_answered(stage, model)
        back_s[model] = time.monotonic() - killed_s
    _until(lambda: _ready_versions(stage) == recorded and stage.admin.readiness()["ready"])
    times = ", ".join(f"{model} {seconds:.1f} s" for model, seconds in back_s.items())
    versions = ", ".join(f"{model} {numbers}" for model, numbers in recorded.items())
    return [
        Proof(
            "tritonserver killed: back to the recorded state by itself",
            f"answering again after: {times}; versions as before: {versions}",
            _ready_versions(stage) == recorded,
        )
    ]


def sidecar_killed(stage: Stage) -> list[Proof]:
    """SIGKILL the sidecar in the middle of a release; the release goes on after its restart."""
    with stage.traffic() as traffic:
        operation = stage.admin.ask(f"/v1/models/{RELEASED}/releases", {"version": GOOD})
        _wait_for_state(stage, operation, "canary_warming")
        killed_s = time.monotonic()
        stage.stack.sidecar.kill()
        _until(stage.admin.is_reachable)
        back_s = time.monotonic() - killed_s
        stage.admin.wait(operation, TIMEOUT_S)
        release = stage.admin.release(operation["release"])
        failed, by_version = traffic.failed, traffic.by_version
    states = [step["state"] for step in release["steps"]]
    serving = stage.admin.model(RELEASED)["serving_version"]
    return [
        Proof(
            "sidecar killed in mid-release: nothing lost, traffic untouched",
            f"REST back after {back_s:.1f} s, release ended {release['state']}, version "
            f"{serving} serves; {by_version.total()} requests meanwhile, {len(failed)} failed",
            not failed
            and release["state"] == "done"
            and len(states) == len(set(states))
            and serving == GOOD,
        )
    ]


def _brief(reason: str) -> str:
    """The part of a reason that fits a table: its first line, with paths cut short."""
    return reason.splitlines()[0].replace(f"{ROOT}/", "")


def _timed(stage: Stage, path: str) -> float:
    """Seconds from the request to the end of its operation."""
    began_s = time.monotonic()
    stage.admin.wait(stage.admin.ask(path), TIMEOUT_S)
    return time.monotonic() - began_s


def _is_right(stage: Stage, model: str, outputs: Tensors) -> bool:
    expected = stage.shelf.golden(model)[-1].outputs
    limits = stage.shelf.manifest(model, 1).tolerances
    return not [found for found in compare(outputs, expected, limits) if found.reason]


def _ready_versions(stage: Stage) -> dict[str, list[int]]:
    models = stage.admin.models()
    return {model["name"]: model["ready_versions"] for model in models if model["ready_versions"]}


def _wait_for_state(stage: Stage, operation: dict[str, Any], state: str) -> None:
    def reached() -> bool:
        release = stage.admin.release(operation["release"])
        if not release["active"] and release["state"] != state:
            raise TimeoutError(f"release is {release['state']}, not {state}: {release['reason']}")
        return bool(release["state"] == state)

    _until(reached)


def _until_answered(stage: Stage, model: str) -> None:
    def answered() -> bool:
        client = stage.grpc()
        try:
            client.infer(model, stage.requests[model])
        except RequestFailed:
            return False
        else:
            return True
        finally:
            client.close()

    _until(answered)


def _until(condition: Callable[[], bool]) -> None:
    if not wait_until(condition, TIMEOUT_S):
        raise TimeoutError(f"not within {TIMEOUT_S:g} s; the logs of this run say why")
