"""First requests: to hot models, to one that is not loaded, and many at once."""

import threading
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from pilotlight.demo.clients import Answer, Client, GrpcClient, RequestFailed, steady_ms
from pilotlight.demo.cold import ColdStart
from pilotlight.demo.proof import Proof
from pilotlight.demo.stage import HOT, LAZY, TIMEOUT_S, Stage
from sidecar.core.events import EventName

POLL_S = 0.01
# A warmed first request must beat a first request on demand by at least this factor.
WORTH_IT = 5.0
CROWD = 200
_PARTS = {
    "read_s": "reading files ahead",
    "load_s": "load",
    "warm_up_s": "warm-up",
    "verify_s": "probe",
}


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
        answer = stage.ask(client, model)
        first_ms[model] = 1000 * answer.seconds
        right = right and answer.warmth == "hit" and stage.is_right(model, answer)
    client.close()
    firsts = ", ".join(f"{model} {ms:.1f} ms" for model, ms in first_ms.items())
    return [
        Proof(
            "/readyz turns 200 only when every hot model is proven, loaded and warmed",
            f"503 {refusals} times, 200 after {ready_s:.1f} s; first requests then: {firsts}",
            refusals > 0 and right,
        )
    ], first_ms


def held_and_answered(stage: Stage) -> list[Proof]:
    """Be the first user of a cold model, over each protocol."""
    stage.shelf.drop_from_page_cache(LAZY)
    proofs = [_held(stage, "HTTP", stage.http(), "before its load, proof on canary included")]
    stage.put_away(LAZY)
    return [*proofs, _held(stage, "gRPC", stage.grpc(), "before its load")]


def _held(stage: Stage, protocol: str, client: Client, before: str) -> Proof:
    was_absent = LAZY not in stage.ready_versions()
    sent = datetime.now(UTC)
    answer = stage.ask(client, LAZY)
    alone_ms = steady_ms(client, LAZY, stage.requests[LAZY].inputs)
    client.close()
    loads = stage.events(EventName.MODEL_LOADED, LAZY, since=sent)
    split = Split.of(sent, answer, loads[-1])
    return Proof(
        f"a first request to {LAZY} (cold) over {protocol} is held, and answered",
        f"after {answer.seconds:.2f} s: {split.queue_s:.2f} s {before}, {split.parts}, "
        f"{split.rest_ms:.0f} ms inference and all else (inference alone: {alone_ms:.0f} ms)",
        was_absent and answer.warmth == "cold" and len(loads) == 1 and stage.is_right(LAZY, answer),
    )


@dataclass(frozen=True, slots=True)
class Split:
    """Where the time of a held request went.

    `rest_ms` is what is in no other part: links to files, a look at the index, new routes, the
    request sent again, its inference.
    """

    queue_s: float
    parts: str
    rest_ms: float

    @classmethod
    def of(cls, sent: datetime, answer: Answer, load: Mapping[str, Any]) -> "Split":
        """`load` is the event of the load that the request has waited for."""
        ended = datetime.fromisoformat(load["at"])
        queue_s = (ended - timedelta(seconds=load["seconds"]) - sent).total_seconds()
        parts_s = {
            name: load["detail"][part] for part, name in _PARTS.items() if part in load["detail"]
        }
        return cls(
            queue_s=queue_s,
            parts=", ".join(f"{name} {seconds:.2f} s" for name, seconds in parts_s.items()),
            rest_ms=1000 * (answer.seconds - queue_s - sum(parts_s.values())),
        )


def without_proxy(stage: Stage) -> tuple[list[Proof], dict[str, float]]:
    """Have a cold model loaded over REST, then ask Triton itself; returns milliseconds."""
    stage.put_away(LAZY)
    began_s = time.monotonic()
    ensured = stage.admin.ask(f"/v1/models/{LAZY}:ensure", timeout_s=TIMEOUT_S)
    ensured_s = time.monotonic() - began_s
    client = GrpcClient(stage.stack.serving.grpc_address)
    answer = stage.ask(client, LAZY)
    client.close()
    first_ms = 1000 * answer.seconds
    return [
        Proof(
            "without a proxy: :ensure over REST, then Triton itself",
            f"{LAZY} loaded and warmed in {ensured_s:.2f} s; first request then {first_ms:.1f} ms",
            ensured["outcome"] == "cold" and stage.is_right(LAZY, answer),
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
        steady = steady_ms(client, model, stage.requests[model].inputs)
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


def a_crowd(stage: Stage) -> list[Proof]:
    """Many first users at the same moment, half of them over each protocol."""
    stage.put_away(LAZY)
    clients = [stage.http(), stage.grpc()]
    together = threading.Barrier(CROWD)

    def ask(client: Client) -> Answer | RequestFailed:
        together.wait()
        try:
            return stage.ask(client, LAZY)
        except RequestFailed as failed:
            return failed

    sent = datetime.now(UTC)
    with ThreadPoolExecutor(CROWD) as pool:
        found = list(pool.map(ask, clients * (CROWD // len(clients))))
    for client in clients:
        client.close()
    answers = [one for one in found if isinstance(one, Answer)]
    right = sum(stage.is_right(LAZY, answer) for answer in answers)
    loads = len(stage.events(EventName.MODEL_LOADED, LAZY, since=sent))
    warmth = Counter(answer.warmth for answer in answers)
    said = ", ".join(f"{name} {count}" for name, count in sorted(warmth.items()))
    waits_s = sorted(answer.seconds for answer in answers) or [0.0]
    return [
        Proof(
            f"{CROWD} first requests at the same moment, half over each protocol: one load",
            f"{loads} load, {right} answered rightly, {CROWD - len(answers)} failed; x-warmth: "
            f"{said}; waits from {waits_s[0]:.2f} to {waits_s[-1]:.2f} s",
            loads == 1 and right == CROWD and warmth["cold"] == 1,
        )
    ]
