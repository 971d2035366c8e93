"""Evidence about a new version that takes many requests: measured, compared, and watched."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from statistics import median

from contract.bytes import format_bytes
from contract.errors import ArtifactUnreadable, ContractError
from contract.manifest import Manifest
from contract.samples import Tensors
from sidecar.core.agreement import Agreement, Answer, Finding, findings
from sidecar.core.fleet import CheckKind, Server
from sidecar.core.judge import served_since
from sidecar.core.memory import Device
from sidecar.core.release import Release
from sidecar.core.steady import CLOCK_MS, Curve
from sidecar.core.strategy import Copies, Strategy
from sidecar.core.traffic import Traffic
from sidecar.core.trial import Memory, Pair, Race, Served, Trial
from sidecar.core.verdict import Evidence, Ruling
from sidecar.errors import (
    GatewayLost,
    InvariantBroken,
    Refused,
    ServerError,
    ServerLost,
    StateUnavailable,
    Unproven,
)
from sidecar.runtime.held import Scales, Weight
from sidecar.runtime.questions import Course, Question, Turn, questions
from sidecar.runtime.warm import Warmer
from sidecar.runtime.world import World

_SERVER = {CheckKind.COMPARE: Server.CANARY, CheckKind.GUARD: Server.SERVING}

ROUND_S = {CheckKind.COMPARE: 1.0, CheckKind.GUARD: 0.05}
"""Of work; clients hardly feel that of a guard. One request at least, however slow the model is."""
MOST_ASKED = {CheckKind.COMPARE: 200, CheckKind.GUARD: 20}
"""Requests in a round; each goes to both versions."""
WEIGH_EVERY_S = {CheckKind.COMPARE: 0.0, CheckKind.GUARD: 5.0}
"""It takes a millisecond for each model with processes of its own, and serving has many."""
MOST_BUSY = 0.1
"""Share of the time; queues are short below that (M/D/1: a wait of a twentieth of an answer)."""
LONGEST_GAP_S = 3.0
"""Between two rounds of a guard, that nobody has looked away."""
MOST_HELD_SHARE = 1.5
MOST_HELD_MORE_BYTES = 64 * 2**20
"""Of memory, above that share of what the manifest declares: the generator has measured it in a
process that was made for that alone."""

Answers = Mapping[int, Answer]
"""To the same request, by version."""


@dataclass(slots=True, kw_only=True)
class _Progress:
    """What this process knows of a trial besides what is recorded.

    `asked` are requests to the new version so far. `shares` says of what memory is read.
    `counted` is what the server had counted at the last look, `refused` the failures that the
    gateway had, and `ours` are the requests since then that no client had sent.
    """

    questions: Course
    limits: Mapping[str, float]
    declared: Mapping[Device, int]
    asked: int = 0
    refusal: str | None = None
    looked_s: float | None = None
    weighed_s: float = float("-inf")
    shares: Mapping[Device, object] | None = None
    counted: dict[int, Served] = field(default_factory=dict)
    refused: Counter[int | None] | None = None
    ours: Counter[int] = field(default_factory=Counter)


class Trier:
    """Raises what is no evidence: ServerLost when there is no answer, and ArtifactUnreadable."""

    def __init__(
        self,
        world: World,
        warmer: Warmer,
        scales: Scales,
        *,
        query_timeout_s: float,
    ) -> None:
        self._world = world
        self._warmer = warmer
        self._scales = scales
        self._query_timeout_s = query_timeout_s
        self._progress: dict[tuple[str, CheckKind], _Progress] = {}

    async def measure(self, release: Release) -> tuple[str, tuple[Evidence, ...]]:
        """Latency until it is steady, and memory where that can be told; canary holds it alone.

        The first is all of it in one sentence.

        Raises:
            Unproven: it holds far more memory than its manifest declares.
        """
        model, version = release.model, release.version
        curves = await self._warmer.warm(Server.CANARY, model, version)
        manifest = await self._world.store.manifest(model, version)
        weights = await self._scales.weigh(Server.CANARY, model)
        declared = await self._scales.declared(Server.CANARY, model, version)
        found = [
            *_speed(curves, manifest),
            *(
                _memory(version, device, weights[device], declared_bytes)
                for device, declared_bytes in declared.items()
                if device in weights
            ),
        ]
        evidence = tuple(each for each in found if each is not None)
        weighed = [each.note for each in evidence if each.check.startswith("memory")]
        steady = sum(curve.steady for curve in curves)
        timed = f"shapes whose latency has become steady: {steady} of {len(curves)}"
        return "; ".join([timed, *weighed]), evidence

    async def compare(self, release: Release, before: Trial | None) -> Trial:
        """About a second of requests, each to both versions; canary holds both."""
        return await self._round(release, CheckKind.COMPARE, before)

    async def guard(self, release: Release, before: Trial | None) -> Trial:
        """Some requests, as few as traffic does not feel, and what traffic has met meanwhile."""
        return await self._round(release, CheckKind.GUARD, before)

    async def _round(self, release: Release, kind: CheckKind, before: Trial | None) -> Trial:
        trial = before or _new_trial(release)
        key = (release.id, kind)
        try:
            if key not in self._progress:
                await self._forget_what_is_over(release)
                self._progress[key] = await self._begin(release, kind)
                trial = _recalled(trial)
            progress = self._progress[key]
            if kind is CheckKind.COMPARE:
                trial = await self._compare(release, progress, trial)
            else:
                trial = await self._guard(release, progress, trial)
        except (ServerLost, ArtifactUnreadable):
            # A server that comes back begins with cold caches, and counts from zero.
            self._progress.pop(key, None)
            raise
        except (ContractError, OSError, StateUnavailable, Unproven) as error:
            trial = replace(trial, obstacle=str(error))
        return replace(trial, rounds=trial.rounds + 1, looked_at_s=time.time())

    async def _begin(self, release: Release, kind: CheckKind) -> _Progress:
        store, model, version = self._world.store, release.model, release.version
        manifest = await store.manifest(model, version)
        golden = await store.golden(model, version)
        warm_up = await store.warmup_requests(model, version)
        if kind is CheckKind.COMPARE:
            of_base = [sample.inputs for sample in await store.golden(model, _base(release))]
            recorded = await self._world.recordings.read(model)
            asked = questions(
                manifest, golden=golden, warm_up=warm_up, others=of_base, recorded=recorded
            )
        else:
            asked = questions(manifest, golden=golden, warm_up=warm_up)
        return _Progress(
            questions=Course(asked),
            limits=manifest.tolerances,
            declared=await self._scales.declared(_SERVER[kind], model, version),
        )

    async def _forget_what_is_over(self, release: Release) -> None:
        """Recorded requests may be large."""
        releases = await self._world.records.releases()
        active = {each.id for each in releases.values() if each.is_active} - {release.id}
        self._progress = {
            key: progress for key, progress in self._progress.items() if key[0] in active
        }

    async def _compare(self, release: Release, progress: _Progress, trial: Trial) -> Trial:
        began_s = time.monotonic()
        versions = (trial.base, trial.version)
        async for turn, answers in self._answers(release, CheckKind.COMPARE, progress, versions):
            old, new = answers[trial.base], answers[trial.version]
            if old.failure is not None:
                progress.questions.drop(turn.question)
                progress.refusal = old.failure
                continue
            if new.failure is not None:
                trial = _failed(trial, new)
                continue
            trial = _raced(trial, turn, old, new, release.strategy)
            if turn.is_first:
                copies = turn.question.copies
                found = await asyncio.to_thread(findings, old, new, progress.limits, copies=copies)
                trial = _counted(_agreed(trial, found), turn.question)
        if release.strategy.latency_margin is not None:
            trial = _with_races(trial, progress.questions.shapes)
        trial = await self._weighed(release, CheckKind.COMPARE, progress, trial)
        return replace(
            trial,
            watched_s=trial.watched_s + time.monotonic() - began_s,
            unasked=progress.questions.unasked,
            obstacle=_obstacle(trial, progress),
        )

    async def _guard(self, release: Release, progress: _Progress, trial: Trial) -> Trial:
        if progress.looked_s is None:
            trial = await self._seen(release, progress, trial)
        trial, timed = await self._probed(release, progress, trial)
        now_s = time.monotonic()
        gap_s = 0.0 if progress.looked_s is None else min(now_s - progress.looked_s, LONGEST_GAP_S)
        progress.looked_s = now_s
        clients = _clients(trial)
        trial = await self._seen(release, progress, trial)
        if _leave_room(_clients(trial) - clients, [new for _, _, new in timed], gap_s):
            for turn, old, new in timed:
                trial = _raced(trial, turn, old, new, release.strategy)
        trial = await self._weighed(release, CheckKind.GUARD, progress, trial)
        return replace(trial, watched_s=trial.watched_s + gap_s, obstacle=None)

    async def _probed(
        self, release: Release, progress: _Progress, trial: Trial
    ) -> tuple[Trial, list[tuple[Turn, Answer, Answer]]]:
        """What the new version answers now, and all that both answered, to be timed."""
        is_alone = release.strategy.copies is Copies.ONE_AT_A_TIME
        versions = (trial.version,) if is_alone else (trial.base, trial.version)
        timed = []
        async for turn, answers in self._answers(release, CheckKind.GUARD, progress, versions):
            old, new, sample = answers.get(trial.base), answers[trial.version], turn.question
            is_refused = old is not None and old.failure is not None
            if new.failure is not None and is_refused and sample.expected is None:
                progress.questions.drop(sample)
                continue
            if new.failure is not None:
                trial = _failed(trial, new)
                continue
            if old is not None and not is_refused:
                timed.append((turn, old, new))
            if sample.expected is not None:
                expected = Answer(latency_ms=0.0, outputs=sample.expected)
                found = await asyncio.to_thread(findings, expected, new, progress.limits)
                trial = _agreed(trial, found)
                if turn.is_first:
                    trial = _counted(trial, sample)
        return trial, timed

    async def _answers(
        self, release: Release, kind: CheckKind, progress: _Progress, versions: Sequence[int]
    ) -> AsyncIterator[tuple[Turn, Answers]]:
        """One request after the other, each to all versions, until the round is over.

        What is just being unloaded, or is no longer there, answers nothing.
        """
        server, model = _SERVER[kind], release.model
        until_s = time.monotonic() + ROUND_S[kind]
        for _ in range(MOST_ASKED[kind]):
            turn = progress.questions.next() if self._is_held(server, model, versions) else None
            if turn is None:
                return
            # In turn each is the first, and pays for what the second finds in caches.
            answers = {
                version: await self._ask(server, model, version, turn.question.inputs)
                for version in random.sample(versions, len(versions))
            }
            progress.asked += 1
            took_ms = sum(answer.latency_ms for answer in answers.values())
            progress.questions.took(turn.question, took_ms)
            if server is Server.SERVING:
                progress.ours.update(v for v, answer in answers.items() if answer.failure is None)
            failed = any(answer.failure is not None for answer in answers.values())
            if failed and not self._is_held(server, model, versions):
                return
            yield turn, answers
            if time.monotonic() >= until_s:
                return

    def _is_held(self, server: Server, model: str, versions: Sequence[int]) -> bool:
        board = self._world.board
        held = board.verified(server).get(model)
        is_there = held is not None and held.versions.issuperset(versions)
        return is_there and (server, model) not in board.busy

    async def _ask(self, server: Server, model: str, version: int, inputs: Tensors) -> Answer:
        """Raises ServerLost."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        failure, outputs = None, Tensors()
        try:
            outputs = await self._world.servers[server].infer(
                model, version, inputs, timeout_s=self._query_timeout_s
            )
        except ServerLost:
            raise
        except ServerError as error:
            failure = str(error)
        latency_ms = max((loop.time() - began_s) * 1e3, CLOCK_MS)
        if server is Server.SERVING and failure is None:
            self._world.board.tally.sent(model, version)
        return Answer(latency_ms=latency_ms, outputs=outputs, failure=failure)

    async def _weighed(
        self, release: Release, kind: CheckKind, progress: _Progress, trial: Trial
    ) -> Trial:
        """With one more reading, unless it is of other things than those before."""
        now_s = time.monotonic()
        if now_s < progress.weighed_s + WEIGH_EVERY_S[kind]:
            return trial
        progress.weighed_s = now_s
        weights = await self._scales.weigh(_SERVER[kind], release.model)
        shares = {device: weight.shares for device, weight in weights.items()}
        progress.shares = progress.shares or shares
        if not weights or shares != progress.shares:
            return trial
        declared_bytes = sum(progress.declared.get(device, 0) for device in weights)
        memory = trial.memory or Memory(declared_bytes=declared_bytes)
        held_bytes = sum(weight.held_bytes for weight in weights.values())
        now = served_since(trial, trial.version)
        requests = progress.asked + now.succeeded + now.failed
        return replace(trial, memory=memory.with_(trial.watched_s, held_bytes, requests))

    async def _seen(self, release: Release, progress: _Progress, trial: Trial) -> Trial:
        """With what the server has counted since the last look, without what was ours.

        A version that nobody saw before, or that counts from zero again, begins here.
        """
        counted: Mapping[int, Served] = {}
        with suppress(Refused):
            counted = await self._world.servers[Server.SERVING].served(release.model)
        refused = await self._refused(release, progress, unnamed=max(counted, default=None))
        served, served_before = dict(trial.served), dict(trial.served_before)
        for version, now in counted.items():
            then = progress.counted.get(version)
            progress.counted[version] = now
            if version not in served:
                served[version] = served_before[version] = _corrected(now, refused[version])
            if then is None or now.succeeded < then.succeeded or now.failed < then.failed:
                progress.ours.pop(version, None)
                continue
            # Triton may count one of ours only after it has answered.
            ours = min(progress.ours[version], now.succeeded - then.succeeded)
            progress.ours[version] -= ours
            new = Served(
                succeeded=now.succeeded - then.succeeded - ours, failed=now.failed - then.failed
            )
            served[version] = served[version].plus(_corrected(new, refused[version]))
        return replace(trial, served=served, served_before=served_before)

    async def _refused(
        self, release: Release, progress: _Progress, *, unnamed: int | None
    ) -> Counter[int | None]:
        """What clients saw fail since the last look, by version; at first, what they ever did.

        Triton counts an error that a Python model answers with as an answer
        (triton-inference-server/server#7713). `unnamed` is the version that requests meet which
        name none; before the trial that was the base.
        """
        router = self._world.router
        if not router.is_alone:
            return Counter()
        try:
            seen = (await router.traffic()).get(release.model, Traffic()).failures
        except GatewayLost:
            return Counter()
        before, progress.refused = progress.refused, seen
        if before is None:
            unnamed, before = release.base, Counter()
        grown = seen if any(seen[each] < before[each] for each in before) else seen - before
        found = Counter(grown)
        found[unnamed] += found.pop(None, 0)
        return found


def _corrected(counted: Served, refused: int) -> Served:
    """Of what a server counts as answered, so much was refused, as the gateway knows better."""
    requests = counted.succeeded + counted.failed
    failed = min(max(counted.failed, refused), requests)
    return Served(succeeded=requests - failed, failed=failed)


def _clients(trial: Trial) -> int:
    """Requests of clients to either version since the trial began."""
    found = [served_since(trial, version) for version in (trial.base, trial.version)]
    return sum(each.succeeded + each.failed for each in found)


def _leave_room(requests: int, answers: Sequence[Answer], seconds: float) -> bool:
    """Whether clients kept the model so little busy that ours did not have to queue behind them.

    Only the new version has clients in the soak: behind these it would seem slower than it is.
    """
    if not answers or not seconds:
        return False
    busy_s = requests * median(answer.latency_ms for answer in answers) / 1e3
    return busy_s <= MOST_BUSY * seconds


def _base(release: Release) -> int:
    if release.base is None:
        raise InvariantBroken(f"release {release.id}: there is no version to compare with")
    return release.base


def _new_trial(release: Release) -> Trial:
    return Trial(base=_base(release), version=release.version, began_s=time.time())


def _recalled(trial: Trial) -> Trial:
    """What an earlier process has gathered, without what this one begins anew.

    It asks each request for the first time, and may read memory of other devices.
    """
    return replace(trial, outputs={}, requests=0, recorded=0, memory=None)


def _failed(trial: Trial, answer: Answer) -> Trial:
    return replace(trial, failures=trial.failures + 1, failure=answer.failure)


def _raced(trial: Trial, turn: Turn, old: Answer, new: Answer, strategy: Strategy) -> Trial:
    if strategy.latency_margin is None or not turn.is_raced:
        return trial
    shape = turn.question.shape
    pair = Pair(base_ms=old.latency_ms, version_ms=new.latency_ms)
    race = trial.races.get(shape, Race()).with_([pair], margin=strategy.latency_margin)
    return replace(trial, races={**trial.races, shape: race})


def _with_races(trial: Trial, shapes: Iterable[str]) -> Trial:
    """One for each shape that is asked, so that none is overlooked that has no pairs yet."""
    run = {shape: race for shape, race in trial.races.items() if race.pairs}
    return replace(trial, races={shape: Race() for shape in shapes} | run)


def _agreed(trial: Trial, found: Sequence[Finding]) -> Trial:
    outputs = {
        finding.output: trial.outputs.get(finding.output, Agreement()).with_(finding)
        for finding in found
    }
    return replace(trial, outputs={**trial.outputs, **outputs})


def _counted(trial: Trial, question: Question) -> Trial:
    return replace(
        trial,
        requests=trial.requests + 1,
        recorded=trial.recorded + question.is_recorded,
    )


def _obstacle(trial: Trial, progress: _Progress) -> str | None:
    asked = progress.questions
    if not asked.unasked and not trial.requests and not trial.failures:
        return f"version {trial.base} answers none of the {asked.size} requests: {progress.refusal}"
    return None


def _speed(curves: Sequence[Curve], manifest: Manifest) -> list[Evidence]:
    """One for each shape. How fast is fast enough is a matter of the comparison."""
    measured = manifest.cost.shapes
    declared = [cost.steady_ms for cost in measured] if len(measured) == len(curves) else []
    found = []
    for number, curve in enumerate(curves):
        how = f"steady after {curve.runs}" if curve.steady else f"not steady after {curve.runs}"
        numbers = {
            "first_ms": curve.first_ms,
            "steady_ms": curve.steady_ms,
            "runs": float(curve.runs),
            "steady": float(curve.steady),
        }
        note = f"{curve.shape}: {curve.steady_ms:.3g} ms, {how} requests"
        if declared:
            numbers["declared_ms"] = declared[number]
            note += f" (the manifest says {declared[number]:.3g} ms)"
        found.append(
            Evidence(
                check=f"measured: {curve.shape}", ruling=Ruling.PASS, note=note, numbers=numbers
            )
        )
    return found


def _memory(version: int, device: Device, weight: Weight, declared_bytes: int) -> Evidence | None:
    """None where others may hold a part of it, and it is too much for all of them.

    Raises:
        Unproven: it is the version's own, and too much.
    """
    most_bytes = int(MOST_HELD_SHARE * declared_bytes) + MOST_HELD_MORE_BYTES
    held, declared, most = (
        format_bytes(size) for size in (weight.held_bytes, declared_bytes, most_bytes)
    )
    if weight.held_bytes > most_bytes:
        if weight.shares:
            return None
        raise Unproven(
            f"version {version} holds {held} of {device}, more than the {most} that are allowed "
            f"where the manifest declares {declared}; find what takes it, and publish the "
            "version again"
        )
    return Evidence(
        check=f"memory: {device}",
        ruling=Ruling.PASS,
        note=f"{device}: at most {held}" if weight.shares else f"{device}: {held}",
        numbers={
            "held_bytes": weight.held_bytes,
            "declared_bytes": declared_bytes,
            "most_bytes": most_bytes,
        },
    )
