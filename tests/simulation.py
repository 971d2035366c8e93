"""The planner's world without any I/O: what its actions would do, as values.

Properties and scenarios run plans here. Each version has a fate; whatever is done to a law's
harm fails at once (`Broken`).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from contract.intent import Intent, Tier
from contract.manifest import Cost, Excerpt
from sidecar.core.actions import (
    Check,
    Ensure,
    Keep,
    LetGo,
    Note,
    Plan,
    Readmit,
    Reject,
    Remove,
    SaveRelease,
    SaveServing,
    SetAside,
    Settle,
    Work,
)
from sidecar.core.activation import Verdict, verdict
from sidecar.core.demand import Demand, arrived
from sidecar.core.ensembles import quarantine_of, waits_to_be_proven
from sidecar.core.fleet import (
    CheckKind,
    Departure,
    Desired,
    Failure,
    Kept,
    Operation,
    OperationKind,
    Outcome,
    Quarantine,
    Rejection,
    Server,
    ServerView,
    Snapshot,
    StoredModel,
    StoredVersion,
    Verification,
    VersionState,
)
from sidecar.core.memory import CPU
from sidecar.core.planner import plan
from sidecar.core.policy import Policy
from sidecar.core.release import Release, ReleaseState, admit
from sidecar.core.requested import can_heed
from sidecar.core.strategy import DEFAULT_STRATEGY, Strategy
from sidecar.core.trial import Trial
from sidecar.core.wanted import unproven_part
from tests.builders import NOW_S, READY, UNAVAILABLE, raced, trial
from tests.chains import chain_config

S = ReleaseState
TICK_S = 0.001
MOST_CYCLES = 500
HOPELESS_AFTER = 2


class Fate(StrEnum):
    """What is wrong with a version, and where that shows."""

    GOOD = "good"
    DAMAGED = "damaged"
    BROKEN = "broken"
    WRONG = "wrong"
    DEADLY = "deadly"
    BAD_WARMUP = "bad_warmup"
    TOO_LARGE = "too_large"
    """For the serving server only: everything on canary goes well."""
    SLOW = "slow"
    UNCLEAR = "unclear"
    """Nobody can say whether it is as good as the version before."""
    SOUR = "sour"
    """Good on canary, and not with the requests of clients."""


IS_SEEN_BY_COMPARISON = {Fate.SLOW, Fate.UNCLEAR}
PASSES_CANARY = {Fate.GOOD, Fate.TOO_LARGE, Fate.SOUR}
MAY_BE_DROPPED_IN = {S.FINISHING, S.ROLLING_BACK}
WATCHED_PER_ROUND_S = 10.0


class Broken(AssertionError):
    """A law does not hold."""


class Refusal(Exception):
    """The API would not have accepted the request."""


def chained(name: str, built_with: Mapping[int, Mapping[str, int]], **intent: Any) -> StoredModel:
    """An ensemble: by version its models, each with the version that it was built with."""
    nothing = Cost(
        disk_bytes=0, private_bytes=0, shared_bytes=0, peak_bytes=0, load_s=0.0, shapes=()
    )
    return StoredModel(
        name=name,
        intent=Intent(**{"tier": Tier.COLD, **intent}),
        versions={
            number: StoredVersion(
                manifest=Excerpt(cost=nothing, composing=composing),
                config=chain_config(name, tuple(composing)),
            )
            for number, composing in built_with.items()
        },
    )


@dataclass(repr=False)
class World:
    models: dict[str, StoredModel]
    fates: dict[tuple[str, int], Fate]
    policy: Policy
    now_s: float = NOW_S
    servers: dict[Server, ServerView] = field(
        default_factory=lambda: dict.fromkeys(Server, ServerView())
    )
    desired: dict[str, Desired] = field(default_factory=dict)
    serving: dict[str, int] = field(default_factory=dict)
    releases: dict[str, Release] = field(default_factory=dict)
    operations: list[Operation] = field(default_factory=list)
    ended: list[Operation] = field(default_factory=list)
    failures: dict[tuple[Server, str], Failure] = field(default_factory=dict)
    outcomes: dict[tuple[str, CheckKind], Outcome] = field(default_factory=dict)
    trials: dict[tuple[str, CheckKind], Trial] = field(default_factory=dict)
    rejected: dict[tuple[str, int], Rejection] = field(default_factory=dict)
    routed: dict[str, dict[int, int]] = field(default_factory=dict)
    strategy: Strategy = DEFAULT_STRATEGY
    in_flight: list[Work] = field(default_factory=list)
    proven: set[tuple[str, int]] = field(default_factory=set)
    unmounted: dict[str, StoredModel] = field(default_factory=dict)
    kept: dict[str, Kept] = field(default_factory=dict)
    quarantine: dict[str, Quarantine] = field(default_factory=dict)
    waiting: dict[str, float] = field(default_factory=dict)
    departures: dict[str, Departure] = field(default_factory=dict)
    answered: dict[str, Verdict] = field(default_factory=dict)
    demand: dict[str, Demand] = field(default_factory=dict)
    prewarmed_at_s: float = NOW_S
    unloaded_at_s: float = 0.0

    def __repr__(self) -> str:
        tiers = {name: stored.tier.value for name, stored in self.models.items()}
        fates = {f"{name}:{version}": fate.value for (name, version), fate in self.fates.items()}
        chains = {
            f"{name}:{number}": version.manifest.composing
            for name, stored in self.models.items()
            for number, version in stored.versions.items()
            if version.manifest.composing
        }
        return (
            f"World({tiers}, {chains}, {fates}, serving={self.serving}, {self.policy}, "
            f"{self.strategy})"
        )

    def _repr_pretty_(self, printer: Any, _cycle: object) -> None:
        """How hypothesis shows it."""
        printer.text(repr(self))

    def snapshot(self) -> Snapshot:
        return Snapshot(
            models=self.models,
            servers=dict(self.servers),
            desired=dict(self.desired),
            serving=dict(self.serving),
            releases=dict(self.releases),
            operations=tuple(self.operations),
            busy=frozenset(
                (work.server, work.model) for work in self.in_flight if not isinstance(work, Check)
            ),
            checking=frozenset(
                work.release.id for work in self.in_flight if isinstance(work, Check)
            ),
            failures=dict(self.failures),
            outcomes=dict(self.outcomes),
            trials=dict(self.trials),
            rejected=dict(self.rejected),
            routed=dict(self.routed),
            kept=dict(self.kept),
            quarantine=dict(self.quarantine),
            waiting=dict(self.waiting),
            departures=dict(self.departures),
            demand=dict(self.demand),
            prewarmed_at_s=self.prewarmed_at_s,
            unloaded_at_s=self.unloaded_at_s,
        )

    def plan(self) -> Plan:
        """The next plan; it must be one that may be made."""
        seen = self.snapshot()
        planned = plan(seen, self.policy, self.now_s)
        _must(planned == plan(self.snapshot(), self.policy, self.now_s), "it is deterministic")
        _must(not (planned.notes and planned.work), "notes come before work")
        touched = [(w.server, w.model) for w in planned.work if not isinstance(w, Check)]
        _must(len(touched) == len(set(touched)), "one action for each model on a server")
        _must(not seen.busy & set(touched), "what is busy is left alone")
        for work in planned.work:
            if isinstance(work, Check):
                _must(work.release.id not in seen.checking, "one check at a time")
            else:
                problem = seen.servers[work.server].problem
                _must(problem is None, "a server with a problem is left alone")
        for server in Server:
            loads = sum(isinstance(w, Ensure) and w.server is server for w in planned.work)
            busy = sum(at is server for at, _ in seen.busy)
            _must(loads == 0 or loads + busy <= self.policy.parallel_loads, "few loads at once")
        return planned

    def note(self, note: Note) -> None:
        self.now_s += TICK_S
        match note:
            case SaveRelease(release=release):
                self._save_release(release)
            case SaveServing(model=model, version=version):
                adopted = version in self.servers[Server.SERVING].ready(model)
                _must(
                    (model, version) in self.proven or adopted,
                    f"{model} {version} is recorded only when it is proven",
                )
                self.serving[model] = version
            case Keep(model=model, reason=reason, waited_for=waited_for):
                kept = Kept(since_s=self.now_s, reason=reason, waited_for=waited_for)
                self.kept[model] = kept
            case LetGo(model=model):
                self._may_go(note)
                self.kept.pop(model, None)
                self.departures[model] = Departure(
                    at_s=self.now_s, reason=note.reason, evicted=note.evicted
                )
            case _:
                self._note_end(note)

    def _note_end(self, note: SetAside | Readmit | Reject | Settle) -> None:
        match note:
            case SetAside(model=model, quarantine=quarantine):
                self.quarantine[model] = quarantine
            case Reject(model=model, version=version, rejection=rejection):
                self.rejected[model, version] = rejection
            case Readmit(model=model):
                del self.quarantine[model]
            case Settle(operation=operation):
                self.operations = [o for o in self.operations if o.id != operation.id]
                self.ended.append(operation)

    def _may_go(self, note: LetGo) -> None:
        """Who is evicted takes the ensembles that need it along."""
        seen = self.snapshot()
        for model in (note.model, *seen.needed_by(note.model)) if note.evicted else ():
            _must(not seen.is_hot(model), f"{model} is hot and is evicted")
            _must(not seen.is_asked_for(model), f"{model} was asked for and is evicted")
            _must(not seen.models[model].intent.pin, f"{model} is pinned and is evicted")
            _must(model not in self.waiting, f"{model} is waited for and is evicted")
            _must((Server.SERVING, model) not in seen.busy, f"{model} is busy and is evicted")
            _must(seen.active_release(model) is None, f"{model} is released and is evicted")

    def held_bytes(self) -> int:
        """All that is loaded on any server, and all that is being loaded."""
        held = {
            (server, model, version)
            for server, view in self.servers.items()
            for model, states in view.index.items()
            for version, state in states.items()
            if state is not UNAVAILABLE
        } | {
            (work.server, work.model, version)
            for work in self.in_flight
            if isinstance(work, Ensure)
            for version in work.placement.versions
        }
        return sum(
            self.stored[model].versions[version].manifest.cost.peak_bytes
            for _, model, version in held
        )

    @property
    def stored(self) -> dict[str, StoredModel]:
        """Mounted or not."""
        return {**self.unmounted, **self.models}

    def _save_release(self, release: Release) -> None:
        before = self.releases.get(release.model)
        if len(release.steps) == 1:
            _must(before is None or not before.is_active, "one release of a model at a time")
        else:
            _must(before is not None and before.id == release.id, "the newest release moves")
        if release.state is S.PROMOTING:
            fate = self.fates[release.model, release.version]
            approved = any(step.operation for step in release.steps if step.state is S.PROMOTING)
            passes = (
                fate in PASSES_CANARY
                or (fate in IS_SEEN_BY_COMPARISON and release.base is None)
                or (fate is Fate.UNCLEAR and approved)
            )
            _must(passes, f"a version that is {fate} gets past canary")
            built_with = self.models[release.model].versions[release.version].manifest.composing
            for part, version in (built_with or {}).items():
                _must(
                    self.serving.get(part) == version,
                    f"{release.model} {release.version} gets past canary without {part} {version}",
                )
            self.proven.add((release.model, release.version))
        self.releases[release.model] = release

    def begin(self, work: Work) -> None:
        held_before = self.held_bytes()
        if isinstance(work, Ensure | Remove):
            self._may_touch(work)
        match work:
            case Ensure(server=Server.SERVING):
                self._may_serve(work)
            case Remove(server=Server.SERVING, model=model):
                _must(
                    not self.snapshot().is_wanted(model) or self._is_away_for_a_while(model),
                    f"{model} is removed although somebody wants it",
                )
            case _:
                pass
        self.in_flight.append(work)
        held, budget = self.held_bytes(), self.policy.budgets.get(CPU)
        _must(
            budget is None or held <= max(held_before, budget),
            f"{work} brings {held} bytes into a budget of {budget}",
        )

    def _may_touch(self, work: Ensure | Remove) -> None:
        """An ensemble comes after its models and leaves before them; nothing goes on beneath it."""
        server, model, view = work.server, work.model, self.servers[work.server]
        changing = {
            each.model: each
            for each in self.in_flight
            if isinstance(each, Ensure | Remove) and each.server is server
        }
        if isinstance(work, Ensure):
            for part in self.stored[model].composing(*work.placement.versions):
                answers = view.answers(part)
                _must(bool(answers), f"{model} is loaded on {server} without {part}")
                _must(part not in changing, f"{model} is loaded while {part} changes on {server}")
                serves = {self.serving.get(part)}
                _must(
                    server is Server.SERVING or answers == serves,
                    f"{model} is proven with {answers} of {part}, which serves {serves}",
                )
        for ensemble, stored in self.stored.items():
            other = changing.get(ensemble)
            is_coming = isinstance(other, Ensure) and model in stored.composing(
                *other.placement.versions
            )
            _must(not is_coming, f"{model} changes on {server} while {ensemble} is being loaded")
        if isinstance(work, Remove) and not self._is_away_for_a_while(model):
            outer = list(self._outer(server, model))
            _must(not outer, f"{model} leaves {server} before {outer}")

    def _outer(self, server: Server, model: str) -> Iterator[str]:
        """Ensembles on a server that have the model among their steps."""
        for ensemble, stored in self.stored.items():
            if model in stored.composing(*self.servers[server].ready(ensemble)):
                yield ensemble

    def _is_away_for_a_while(self, model: str) -> bool:
        """Whether its release takes a model away from whoever wants it."""
        release = self.snapshot().active_release(model)
        return release is not None and (release.state is S.ROLLING_BACK or release.keeps_one)

    def _may_serve(self, work: Ensure) -> None:
        recorded, release = self.serving.get(work.model), self.releases.get(work.model)
        for version in work.placement.versions:
            _must(
                version == recorded or (work.model, version) in self.proven,
                f"{work.model} {version} comes to serving unproven",
            )
        if recorded is not None and recorded not in work.placement.versions:
            _must(
                release is not None and (release.state in MAY_BE_DROPPED_IN or release.keeps_one),
                f"{work.model} {recorded} serves and is dropped",
            )
        named = self.routed.get(work.model, {}).keys() - set(work.placement.versions)
        _must(not named, f"the gateway names {work.model} {named}, which is dropped")

    def finish(self, work: Work) -> None:
        """Its effect, as late as it can come."""
        self.now_s += TICK_S
        self.in_flight.remove(work)
        match work:
            case Ensure():
                before = self.servers[work.server].ready(work.model)
                self._ensure(work)
                view = self.servers[work.server]
                _must(
                    work.server is Server.CANARY
                    or not before
                    or view.problem is not None
                    or bool(view.ready(work.model)),
                    f"{work.model} does not serve any more",
                )
            case Remove(server=server, model=model):
                if self.servers[server].problem is None:
                    self._take_down(server, model)
                    self.failures.pop((server, model), None)
                    if server is Server.SERVING:
                        self.unloaded_at_s = self.now_s
                else:
                    self._fail(server, model, "no answer", config="", lost=True)
            case Check():
                self._check(work)

    def _take_down(self, server: Server, model: str) -> None:
        """With every ensemble over it."""
        for ensemble in self._outer(server, model):
            view = self.servers[server]
            states = dict.fromkeys(view.index[ensemble], UNAVAILABLE)
            self._set(server, ensemble, states, staged=view.staged.get(ensemble))
        self._set(server, model, {}, staged=None)

    def _ensure(self, work: Ensure) -> None:
        server, model, config = work.server, work.model, work.placement.config
        view, wanted = self.servers[server], frozenset(work.placement.versions)
        if view.problem is not None:
            return self._fail(server, model, "no answer", config=config, lost=True)
        for part in self.stored[model].composing(*wanted):
            if not view.ready(part):
                # The server is another one than that for which it was planned.
                return self._fail(server, model, f"depends on {part}", config=config)
        fresh = wanted - view.ready(model)
        for version in sorted(fresh):
            if self._cannot_load(server, model, version, config):
                states = {**view.index.get(model, {}), version: UNAVAILABLE}
                self._set(server, model, states, staged=config)
                return self._fail(server, model, f"version {version} failed", config=config)
        self._set(server, model, dict.fromkeys(wanted, READY), staged=config)
        fates = {self.fates[model, version] for version in fresh}
        if Fate.DEADLY in fates:
            self.kill(server)
            return self._fail(server, model, "no answer", config=config, lost=True)
        if Fate.WRONG in fates:
            return self._fail(server, model, "answers wrongly", config=config)
        return self._verify(server, model, wanted, config)

    def _cannot_load(self, server: Server, model: str, version: int, config: str) -> bool:
        fate = self.fates[model, version]
        return (
            fate is Fate.BROKEN
            or (fate is Fate.BAD_WARMUP and "model_warmup" in config)
            or (fate is Fate.TOO_LARGE and server is Server.SERVING)
        )

    def _verify(self, server: Server, model: str, wanted: frozenset[int], config: str) -> None:
        view = self.servers[server]
        found = Verification(versions=wanted, config=config)
        self.servers[server] = replace(view, verified={**view.verified, model: found})
        if server is Server.SERVING:
            self.failures.pop((server, model), None)

    def _check(self, work: Check) -> None:
        release = work.release
        fate = self.fates[release.model, release.version]
        if work.kind in (CheckKind.COMPARE, CheckKind.GUARD):
            return self._try(work, fate)
        if work.kind is CheckKind.FILES:
            passed = fate is not Fate.DAMAGED
        else:
            view = self.servers[Server.CANARY]
            if view.problem is not None or release.version not in view.ready(release.model):
                lost = "no answer"
                return self._fail(Server.CANARY, release.model, lost, config=work.config, lost=True)
            passed = fate is not Fate.WRONG
        verdict = "passed" if passed else "failed"
        outcome = Outcome(passed=passed, note=f"{work.kind} {verdict}")
        self.outcomes[release.id, work.kind] = outcome
        return None

    def _try(self, work: Check, fate: Fate) -> None:
        """One more round, as fate wills."""
        release, kind = work.release, work.kind
        before = self.trials.get((release.id, kind))
        assert release.base is not None
        found = before or trial(base=release.base, version=release.version, rounds=0)
        races = {Fate.SLOW: {"b1": raced(slower=50)}, Fate.UNCLEAR: {"b1": raced(pairs=2)}}
        fails = fate is Fate.SOUR and kind is CheckKind.GUARD
        self.trials[release.id, kind] = replace(
            found,
            rounds=found.rounds + 1,
            looked_at_s=self.now_s,
            watched_s=found.watched_s + WATCHED_PER_ROUND_S,
            races=races.get(fate, found.races),
            failures=int(fails),
        )

    def _set(
        self, server: Server, model: str, states: dict[int, VersionState], *, staged: str | None
    ) -> None:
        view = self.servers[server]
        texts = {name: text for name, text in view.staged.items() if name != model}
        verified = {name: found for name, found in view.verified.items() if name != model}
        known = view.verified.get(model)
        if known:
            still = {v for v in known.versions if states.get(v) is READY}
            verified[model] = replace(known, versions=frozenset(still))
        self.servers[server] = replace(
            view,
            index={**view.index, model: states},
            staged=texts if staged is None else {**texts, model: staged},
            verified=verified,
        )

    def _fail(
        self, server: Server, model: str, reason: str, *, config: str, lost: bool = False
    ) -> None:
        before = self.failures.get((server, model))
        again = before is not None and (before.config, before.lost) == (config, lost)
        self.failures[server, model] = Failure(
            reason=reason,
            lost=lost,
            attempts=before.attempts + 1 if before and again else 1,
            at_s=self.now_s,
            config=config,
        )

    def kill(self, server: Server) -> None:
        """Stages outlive their server."""
        self.servers[server] = ServerView(problem="no answer", staged=self.servers[server].staged)

    def restart(self, server: Server) -> None:
        self.servers[server] = replace(self.servers[server], problem=None)

    def served_before(self, model: str, version: int) -> None:
        self.fates[model, version] = Fate.GOOD
        self.serving[model] = version
        self.proven.add((model, version))

    def unmount(self) -> None:
        """The store is gone for a while."""
        self.models, self.unmounted = {}, {**self.unmounted, **self.models}

    def mount(self) -> None:
        self.models, self.unmounted = {**self.models, **self.unmounted}, {}

    def replace_sidecar(self) -> None:
        """It dies: what was in flight is half done or not at all, its memory is gone."""
        self.in_flight.clear()
        self.failures.clear()
        self.outcomes.clear()
        for server, view in self.servers.items():
            self.servers[server] = replace(view, verified={})

    def ask(self, kind: OperationKind, model: str, version: int = 0) -> None:
        """What `sidecar.runtime.requests` accepts.

        Raises:
            Refusal: it would not.
        """
        self.now_s += TICK_S
        stored, release = self.models.get(model), self.releases.get(model)
        if stored is None:
            raise Refusal
        name = f"{kind}-{model}-{self.now_s:.3f}"
        match kind:
            case OperationKind.RELEASE:
                release = self._admit(stored, version, f"release-{name}")
            case OperationKind.ROLLBACK:
                if release is None or release.base is None or not release.can_roll_back:
                    raise Refusal
            case OperationKind.LOAD | OperationKind.UNLOAD:
                self._want(stored, loaded=kind is OperationKind.LOAD)
                release = None
            case _:
                has_base = release is not None and release.base in stored.versions
                if release is None or not can_heed(release, kind, has_base=has_base):
                    raise Refusal
        operation = Operation(
            id=name,
            kind=kind,
            model=model,
            actor="ann",
            created_at_s=self.now_s,
            release_id=release and release.id,
        )
        self.operations.append(operation)

    def _admit(self, stored: StoredModel, version: int, release_id: str) -> Release:
        model, before = stored.name, self.releases.get(stored.name)
        if (
            version not in stored.versions
            or version == self.serving.get(model)
            or (before is not None and before.is_active)
            or (model, version) in self.rejected
            or (self.strategy.shift and model not in self.serving)
        ):
            raise Refusal
        release = admit(
            release_id=release_id,
            model=model,
            version=version,
            base=self.serving.get(model),
            actor="ann",
            at_s=self.now_s,
            strategy=self.strategy,
        )
        self.releases[model] = release
        return release

    def _want(self, stored: StoredModel, *, loaded: bool) -> None:
        model, release = stored.name, self.releases.get(stored.name)
        aside = self.quarantine.get(model)
        if loaded and aside is not None and aside.holds(self.now_s):
            raise Refusal
        is_active = release is not None and release.is_active
        if not loaded and (is_active or stored.tier == "hot"):
            raise Refusal
        self.desired[model] = Desired(loaded=loaded, requested_at_s=self.now_s)

    def wait_for(self, model: str) -> None:
        """A request comes; it is answered as soon as there is an answer."""
        self.waiting.setdefault(model, self.now_s)

    def request(self, model: str) -> None:
        """A request that is answered at once, if the model answers."""
        if self.servers[Server.SERVING].answers(model):
            self.demand[model] = arrived(
                self.demand.get(model), count=1, since_s=self.now_s, until_s=self.now_s
            )

    def cycle(self, *, at_most: int | None = None) -> Plan:
        """One plan, carried out as far as its first `at_most` notes or actions.

        Actions are begun only.
        """
        self.now_s += TICK_S
        self._route()
        planned = self.plan()
        seen = self.snapshot()
        for model in list(self.waiting):
            found = verdict(seen, planned.blocked, model, self.now_s)
            if found is not None:
                del self.waiting[model]
                self.answered[model] = found
                self.request(model)
        if planned.prewarmed:
            self.prewarmed_at_s = self.now_s
        for note in planned.notes[:at_most]:
            self.note(note)
        for work in planned.work[:at_most]:
            self.begin(work)
        return planned

    def _route(self) -> None:
        """The gateway does what releases say, among the versions that answer."""
        self.routed = {}
        for model, release in self.releases.items():
            answers = self.servers[Server.SERVING].answers(model)
            weights = {v: w for v, w in (release.weights or {}).items() if v in answers}
            if weights:
                self.routed[model] = weights

    def _asking(self) -> dict[str, OperationKind]:
        """Models whose release waits for a person, and what to say to it.

        One of an ensemble may wait for a model that nobody is proving.
        """
        seen = self.snapshot()
        return {
            model: OperationKind.RESUME if release.paused_by else OperationKind.ABORT
            for model, release in self.releases.items()
            if release.is_active
            and (
                release.paused_by
                or release.state is S.AWAITING
                or (
                    release.state is S.ADMITTED
                    and (part := unproven_part(seen, model)) is not None
                    and seen.active_release(part) is None
                )
            )
        }

    def _decide(self) -> bool:
        """Where a release waits for a person, there comes one; whether any did."""
        asking = self._asking()
        for model, kind in asking.items():
            self.ask(kind, model)
        return bool(asking)

    def come_to_rest(self) -> None:
        """Until nothing is left to be done; servers that die are started again."""
        self.mount()
        for _ in range(MOST_CYCLES):
            for server in Server:
                self.restart(server)
            waited_for = len(self.waiting)
            planned = self.cycle()
            was_busy = bool(self.in_flight) or len(self.waiting) != waited_for
            for work in list(self.in_flight):
                self.finish(work)
            if not planned.notes and not was_busy:
                if planned.wake_at_s is None or self._is_hopeless():
                    if not self._decide():
                        return
                    continue
                self.now_s = max(self.now_s, planned.wake_at_s)
        raise Broken(f"no rest after {MOST_CYCLES} cycles; next: {self.plan()}")

    def _is_hopeless(self) -> bool:
        """Whether all that is left is to try again what failed more than once, for ever."""
        seen, blocked, asking = self.snapshot(), self.plan().blocked, self._asking()
        left = [
            model
            for model in self.models
            if seen.is_wanted(model)
            and blocked.keys().isdisjoint((model, *seen.composing(model)))
            and model not in asking
            and not self.servers[Server.SERVING].answers(model)
        ]
        active = {
            model
            for model, release in self.releases.items()
            if release.is_active
            and not (release.state is S.ADMITTED and waits_to_be_proven(seen, model))
        }
        return (
            active <= asking.keys()
            and self.servers[Server.CANARY].staged.keys() <= asking.keys()
            and all(
                found is not None and found.times >= HOPELESS_AFTER
                for found in (quarantine_of(seen, model, self.now_s) for model in left)
            )
        )

    def check_rest(self) -> None:
        """What must be the case when nothing is left to be done."""
        seen = self.snapshot()
        _must(not self.operations, f"every operation ends: {self.operations}")
        _must(not any(r.is_active for r in self.releases.values()), "every release ends")
        _must(not self.servers[Server.CANARY].staged, "canary is empty")
        _must(not self.waiting, f"everybody is answered: {self.waiting}")
        blocked = self.plan().blocked
        for model in self.models:
            recorded = self.serving.get(model)
            if model in blocked or (recorded and self.fates[model, recorded] is Fate.TOO_LARGE):
                continue
            view = self.servers[Server.SERVING]
            can_serve = seen.is_wanted(model) and all(map(view.answers, seen.composing(model)))
            wanted = {recorded} if recorded and can_serve else set()
            answers = view.answers(model)
            _must(answers == wanted, f"{model} should serve {wanted} and serves {answers}")


def _must(condition: bool, law: str) -> None:  # noqa: FBT001  (like `assert`)
    if not condition:
        raise Broken(law)
