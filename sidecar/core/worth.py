"""What it is worth to hold a model: demand and cost of one snapshot, asked for by name."""

from functools import cached_property
from itertools import islice

from sidecar.core.cost import (
    Basis,
    Reload,
    can_go_to_cpu,
    counted_s,
    footprint,
    is_on_cpu,
    reload,
)
from sidecar.core.demand import Demand, Pool, arrived, expected_rate, idle_timeout_s, pooled
from sidecar.core.fleet import Server, Snapshot
from sidecar.core.learned import Learned
from sidecar.core.ledger import gpus_of, needed_bytes
from sidecar.core.memory import CPU, GIB, Device
from sidecar.core.policy import Policy
from sidecar.core.ranking import score

POOLED = 1_000
"""Models whose habits stand for those of all."""


class Worth:
    """Answers for one snapshot at one time; computes only what is asked."""

    def __init__(self, snapshot: Snapshot, policy: Policy, now_s: float) -> None:
        self._snapshot = snapshot
        self.policy = policy
        self._now_s = now_s
        self.gpus = gpus_of(snapshot, policy)
        self._idle_timeouts_s: dict[str, float] = {}

    @cached_property
    def pool(self) -> Pool:
        """Of a large fleet, a sample tells the habits as well."""
        demand = self._snapshot.demand
        step = max(1, len(demand) // POOLED)
        return pooled(islice(demand.values(), None, None, step))

    def demand(self, model: str) -> Demand | None:
        """Who waited for the model is about to send a request that no counter has seen yet."""
        known = self._snapshot.demand.get(model)
        kept = self._snapshot.kept.get(model)
        if kept is None or not kept.waited_for or (known and known.last_s >= kept.since_s):
            return known
        return arrived(known, count=1, since_s=kept.since_s, until_s=kept.since_s)

    def version(self, model: str) -> int:
        """The one that serves, or would."""
        recorded = self._snapshot.serving.get(model)
        stored = self._snapshot.models[model]
        if recorded is not None and recorded in stored.versions:
            return recorded
        return stored.newest

    def needed(self, model: str, *, on_cpu: bool = False) -> dict[Device, int]:
        """Bytes per device of the model at rest, where it belongs or on the CPU."""
        versions = (self.version(model),)
        return needed_bytes(self._snapshot, self.gpus, model, versions, on_cpu=on_cpu)

    def brought(self, model: str) -> dict[Device, int]:
        """What comes and goes with a model: `needed`, and of an ensemble that of its own models."""
        total = self.needed(model)
        for part in self.own_parts(model):
            for device, held in self.needed(part).items():
                total[device] = total.get(device, 0) + held
        return total

    def own_parts(self, model: str) -> list[str]:
        """Models of an ensemble's steps that nobody else wants."""
        snapshot = self._snapshot
        return [
            part
            for part in snapshot.composing(model)
            if part in snapshot.models
            and not snapshot.is_wanted_itself(part)
            and set(snapshot.needed_by(part)) <= {model}
        ]

    def can_go_to_cpu(self, model: str) -> bool:
        return can_go_to_cpu(self._snapshot.models[model].versions[self.version(model)].config)

    def serves_on_cpu(self, model: str) -> bool:
        """Whether a model that belongs on a GPU answers on the CPU."""
        verified = self._snapshot.servers[Server.SERVING].verified.get(model)
        return (
            verified is not None
            and is_on_cpu(verified.config, self.gpus)
            and CPU not in self.needed(model)
        )

    def learned(self, model: str) -> Learned | None:
        return self._snapshot.learned.get((model, self.version(model)))

    def basis(self, model: str) -> Basis:
        """How `needed` is known."""
        stored = self._snapshot.models[model].versions[self.version(model)]
        return footprint(stored, self.learned(model), self.gpus)[1]

    def reload(self, model: str) -> Reload:
        """From the decision to load until the first good answer, as the files lie now.

        An ensemble is loaded after the slowest of the models that come with it.
        """
        found = self._reload(model)
        parts = [self._reload(part) for part in self.own_parts(model)]
        return max(parts, key=lambda each: each.seconds).then(found) if parts else found

    def _reload(self, model: str) -> Reload:
        stored = self._snapshot.models[model].versions[self.version(model)]
        return reload(stored, self.learned(model), cached=model in self._snapshot.cached)

    def counted_s(self, model: str) -> float:
        """Of a cold start, what its service level does not forgive."""
        acceptable_s = self._snapshot.models[model].intent.acceptable_cold_start_s
        return counted_s(self.reload(model).seconds, acceptable_s)

    def score(self, model: str, held_bytes: int) -> float:
        """Cold-start seconds avoided per hour for each GiB held, or the ranking's own unit."""
        return score(
            self.policy.ranking,
            self.demand(model),
            reload_s=self.counted_s(model),
            held_bytes=held_bytes,
            pool=self.pool,
            now_s=self._now_s,
            aged=self._snapshot.aged.get(model, 0.0),
        )

    def expected_per_hour(self, model: str) -> float:
        """Requests to expect if it is kept now."""
        demand = self.demand(model)
        return 3600.0 * expected_rate(demand, self.pool, self._now_s) if demand else 0.0

    def cold_start_s_per_hour(self, model: str) -> float:
        """What requests would wait if each of them met the model unloaded."""
        return self.expected_per_hour(model) * self.counted_s(model)

    def idle_timeout_s(self, model: str) -> float:
        """After so long without a request, holding costs more than the next cold start.

        Break-even: the price of the memory equals the cold start (POLICY.md section 4).
        """
        intent = self._snapshot.models[model].intent
        if intent.idle_timeout_s is not None:
            return intent.idle_timeout_s
        # Asked twice in a plan, of every model that is kept.
        if model not in self._idle_timeouts_s:
            self._idle_timeouts_s[model] = idle_timeout_s(
                price=self.policy.price,
                gib=sum(self.brought(model).values()) / GIB,
                wait_s=self.counted_s(model),
            )
        return self._idle_timeouts_s[model]

    def last_used_s(self, model: str) -> float:
        """The newest request that may have been, or when it was decided to keep the model.

        While nobody counted, there may have been one at any moment.
        """
        demand = self.demand(model)
        kept = self._snapshot.kept.get(model)
        return max(
            demand.last_s if demand else 0.0,
            kept.since_s if kept else 0.0,
            self._snapshot.watched_since_s,
        )


def needed_because(snapshot: Snapshot, model: str) -> str | None:
    """Which ensembles need the model, else None."""
    ensembles = snapshot.needed_by(model)
    return f"needed by ensemble {', '.join(ensembles)}" if ensembles else None


def stays_because(snapshot: Snapshot, model: str) -> str | None:
    """Why a loaded model is no victim, else None."""
    return lasting_because(snapshot, model) or passing_because(snapshot, model)


def lasting_because(snapshot: Snapshot, model: str) -> str | None:
    """Why a model, once loaded, stays until a person changes that, else None."""
    if snapshot.is_hot(model):
        return "hot"
    if snapshot.is_asked_for(model):
        return "asked for by a person"
    if snapshot.models[model].intent.pin:
        return "pinned"
    for ensemble in snapshot.needed_by(model):
        why = lasting_because(snapshot, ensemble)
        if why is not None:
            return f"needed by ensemble {ensemble}: {why}"
    return None


def passing_because(snapshot: Snapshot, model: str) -> str | None:
    """Why a model is no victim for the moment, else None."""
    waiting = {
        each
        for each in snapshot.ensembles.get(model, ())
        if each in snapshot.waiting and model in snapshot.composing(each)
    }
    return _passing_itself(snapshot, model) or next(
        (
            f"needed by ensemble {each}: {why}"
            for each in sorted(waiting | set(snapshot.needed_by(model)))
            if (why := _passing_itself(snapshot, each))
        ),
        None,
    )


def passes_without(
    snapshot: Snapshot, holder: tuple[Server, str], other: tuple[Server, str]
) -> bool:
    """Whether what is in the way of another model may go by itself before that one is loaded.

    What an ensemble of both waits for does not pass: it is that other one. No request waits for
    what is on canary.
    """
    server, model = holder
    concerned = {model, *_ensembles_over(snapshot, server, model)}
    concerned -= {other[1], *snapshot.needed_by(other[1]), *_ensembles_over(snapshot, *other)}
    return any(_passing_itself(snapshot, each, server) for each in concerned)


def _ensembles_over(snapshot: Snapshot, server: Server, model: str) -> tuple[str, ...]:
    """Ensembles for which a model is on a server."""
    if server is Server.SERVING:
        return snapshot.needed_by(model)
    return tuple(
        each
        for each in snapshot.ensembles.get(model, ())
        if snapshot.active_release(each) is not None and model in snapshot.composing(each)
    )


def _passing_itself(snapshot: Snapshot, model: str, server: Server = Server.SERVING) -> str | None:
    if any((each, model) in snapshot.busy for each in Server):
        return "loading or unloading"
    if snapshot.active_release(model):
        return "being released"
    if server is Server.SERVING and model in snapshot.waiting:
        return "a request waits for it"
    return None
