"""What Pilotlight promises while traffic runs, act by act. Each act returns what it proved."""

import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from pilotlight.admin import OperationFailed
from pilotlight.demo.clients import RequestFailed, Traffic
from pilotlight.demo.proof import Proof
from pilotlight.demo.shelf import CORRUPT, GOOD, SLOW, SUBTLY_WRONG
from pilotlight.demo.stage import LAZY, RELEASED, TIMEOUT_S, Stage, until
from sidecar.core.events import EventName

POLL_S = 0.01
# Now and then nobody asks for long enough that an unload is not called off.
PAUSE_S = 0.15
UNLOADS = 2
BAD = {SLOW: "slow", SUBTLY_WRONG: "subtly wrong", CORRUPT: "corrupt"}
SHARES = (20, 50)
BAKE_S = 2.0
LONG_SOAK_S = 600.0
"""The rollback ends it."""
MISSED_BY = 15
"""Percentage points: chance decides for each request."""


def unloaded_under_traffic(stage: Stage) -> list[Proof]:
    """Unload a model that clients go on asking for, until it really has gone."""
    clients = {"grpc": stage.grpc, "http": stage.http}
    began = datetime.now(UTC)
    gone: list[dict[str, Any]] = []
    asked = 0
    with Traffic(clients, LAZY, stage.requests[LAZY].inputs, pause_s=PAUSE_S) as traffic:
        traffic.wait_for(1, since_s=time.monotonic(), timeout_s=TIMEOUT_S)
        while len(gone) < UNLOADS:
            operation = stage.admin.ask(f"/v1/models/{LAZY}:unload")
            asked += 1
            with suppress(OperationFailed):
                stage.admin.wait(operation, TIMEOUT_S)
            traffic.wait_for(1, since_s=time.monotonic(), timeout_s=TIMEOUT_S)
            gone = stage.events(EventName.MODEL_UNLOADED, LAZY, since=began)
    again = stage.events(EventName.MODEL_LOADED, LAZY, since=began)
    kept = len(stage.events(EventName.UNLOAD_CALLED_OFF, LAZY, since=began))
    return [
        Proof(
            f"{LAZY} unloaded while clients ask for it over both protocols: no request fails",
            f"asked for {asked} x: {kept} x called off for a request, {len(gone)} x done; loaded "
            f"again {len(again)} x; {len(traffic.seen)} requests, {len(traffic.failed)} failed, "
            f"the longest wait {traffic.longest_s:.1f} s",
            len(again) >= UNLOADS and not traffic.failed,
        )
    ]


def promotion_and_rollback(stage: Stage) -> list[Proof]:
    """Promote the good version under traffic, then go back while it soaks."""
    stage.shelf.publish(RELEASED, GOOD)
    with stage.traffic() as traffic:
        began_s = time.monotonic()
        body = {"version": GOOD, "strategy": {"soak_s": LONG_SOAK_S}}
        operation = stage.admin.ask(f"/v1/models/{RELEASED}/releases", body)
        stage.wait_for_state(operation, "soaking")
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


def shifted(stage: Stage) -> list[Proof]:
    """Give the good version a growing share of the requests, then take it back."""
    strategy = {"shift": SHARES, "bake_s": BAKE_S, "outputs": "any", "latency_margin": None}
    body = {"version": GOOD, "strategy": strategy}
    got = []
    with stage.traffic() as traffic:
        operation = stage.admin.ask(f"/v1/models/{RELEASED}/releases", body)
        for share in SHARES:
            answered = _answered_at(stage, traffic, share)
            got.append(100 * answered[GOOD] / max(answered.total(), 1))
        stage.wait_for_state(operation, "soaking")
        stage.admin.wait(stage.admin.ask(f"/v1/models/{RELEASED}:rollback"), TIMEOUT_S)
        failed, total = traffic.failed, len(traffic.seen)
    shares = ", ".join(
        f"{seen:.0f} % for {share} %" for share, seen in zip(SHARES, got, strict=True)
    )
    return [
        Proof(
            f"requests shifted to {RELEASED} {GOOD} in shares, then all of them, and back",
            f"it answered {shares} of the requests; {total} requests, {len(failed)} failed",
            not failed
            and all(abs(seen - share) < MISSED_BY for share, seen in zip(SHARES, got, strict=True)),
        )
    ]


def _answered_at(stage: Stage, traffic: Traffic, share: int) -> Counter[int]:
    """By version, while the gateway is seen to send the good one this share."""
    until(partial(_has_share, stage, share))
    seen = [traffic.by_version]

    def is_over() -> bool:
        now = traffic.by_version
        if not _has_share(stage, share):
            return True
        seen.append(now)
        return False

    until(is_over)
    return seen[-1] - seen[0]


def _has_share(stage: Stage, share: int) -> bool:
    weights = stage.admin.traffic(RELEASED)["effective"]["weights"]
    return bool(weights.get(str(GOOD)) == share)


def bad_versions_refused(stage: Stage) -> list[Proof]:
    """Release three bad versions under traffic; serving must not notice."""
    proofs = []
    for version, kind in BAD.items():
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
    recorded = stage.ready_versions()
    with stage.traffic() as traffic, ThreadPoolExecutor() as pool:
        killed_s = time.monotonic()
        stage.stack.serving.kill()
        asked = {model: pool.submit(_ask, stage, model) for model in recorded}
        back_s = {model: answered.result() - killed_s for model, answered in asked.items()}
        until(lambda: stage.ready_versions() == recorded and bool(stage.admin.readiness()["ready"]))
    times = ", ".join(f"{model} {seconds:.1f} s" for model, seconds in back_s.items())
    versions = ", ".join(f"{model} {numbers}" for model, numbers in recorded.items())
    return [
        Proof(
            "tritonserver killed: back to the recorded state by itself, requests wait meanwhile",
            f"answered after: {times}; versions as before: {versions}; {len(traffic.seen)} "
            f"requests meanwhile, {len(traffic.failed)} failed, the longest wait "
            f"{traffic.longest_s:.1f} s",
            not traffic.failed and stage.ready_versions() == recorded,
        )
    ]


def sidecar_killed(stage: Stage) -> list[Proof]:
    """SIGKILL the sidecar in the middle of a release, and keep it down for a while."""
    stage.put_away(LAZY)
    with stage.traffic() as traffic, ThreadPoolExecutor(1) as pool:
        operation = stage.admin.ask(f"/v1/models/{RELEASED}/releases", {"version": GOOD})
        stage.wait_for_state(operation, "canary_warming")
        killed_s = time.monotonic()
        stage.stack.sidecar.kill()
        cold = pool.submit(_first_answer, stage)
        _keep_dead_until(stage, cold)
        dead_s = time.monotonic() - killed_s
        until(stage.admin.is_reachable)
        afterwards = _first_answer(stage)
        stage.admin.wait(operation, TIMEOUT_S)
        release = stage.admin.release(operation["release"])
    failed, by_version = traffic.failed, traffic.by_version
    states = [step["state"] for step in release["steps"]]
    serving = stage.admin.model(RELEASED)["serving_version"]
    return [
        Proof(
            "sidecar killed in mid-release: nothing lost, traffic untouched",
            f"kept dead for {dead_s:.1f} s; then the release ended {release['state']}, version "
            f"{serving} serves; {by_version.total()} requests meanwhile, {len(failed)} failed",
            not failed
            and release["state"] == "done"
            and len(states) == len(set(states))
            and serving == GOOD,
        ),
        Proof(
            "only who asks for a model that is not loaded notices, until the sidecar is back",
            f"{LAZY} meanwhile: {cold.result()}; afterwards: {afterwards}",
            cold.result().startswith("503") and afterwards == "cold",
        ),
    ]


def _ask(stage: Stage, model: str) -> float:
    """When the answer came (monotonic)."""
    client = stage.grpc()
    stage.ask(client, model)
    client.close()
    return time.monotonic()


def _first_answer(stage: Stage) -> str:
    """What the first user of a cold model gets: its warmth, or the refusal."""
    client = stage.http()
    try:
        return stage.ask(client, LAZY).warmth
    except RequestFailed as refused:
        return str(refused)
    finally:
        client.close()


def _keep_dead_until(stage: Stage, done: Future[str]) -> None:
    """Kill the sidecar each time it is started again."""
    while not done.done():
        stage.stack.sidecar.kill()
        time.sleep(POLL_S)


def _brief(reason: str) -> str:
    """The part of a reason that fits a table: its first line, with paths cut short."""
    return reason.splitlines()[0].replace(f"{Path.cwd()}/", "")
