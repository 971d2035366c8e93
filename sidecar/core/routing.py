"""Where requests go: which replica answers for which model, and what a release does to that."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from contract.config import is_stateful
from sidecar.core.fleet import Mode, Server, Snapshot
from sidecar.core.release import Release
from sidecar.core.status import unready
from sidecar.core.steering import Steering


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Requests that name no version, shared among versions in proportion to their weights.

    Requests with the same value of `sticky_header` meet the same version; without one, chance
    decides for each.
    """

    weights: Mapping[int, int]
    sticky_header: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """One Triton behind the gateway, with the models that it answers for.

    `http` and `grpc` are `host:port`. It has `joined` when its hot models are warm, until it
    drains.
    """

    name: str
    http: str
    grpc: str
    models: frozenset[str]
    stateful: frozenset[str] = frozenset()
    joined: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Routes:
    """All that the gateway must know.

    `mirrors` maps models to the percentage of their requests that canary gets a copy of,
    `samples` to that of which we get one, to compare answers or to record it.
    `stateful` models keep state between requests: one whose server died is not repeated.
    """

    replicas: tuple[Replica, ...] = ()
    splits: Mapping[str, Split] = field(default_factory=dict)
    mirrors: Mapping[str, int] = field(default_factory=dict)
    samples: Mapping[str, int] = field(default_factory=dict)
    stateful: frozenset[str] = frozenset()

    def have(self, model: str) -> bool:
        """Whether some replica answers for the model."""
        return any(model in replica.models for replica in self.replicas)


def is_served(snapshot: Snapshot, model: str) -> bool:
    """Whether the serving server answers for the model, and is to go on doing so.

    A model that vanished from the store serves on.
    """
    if model in snapshot.leaving or not snapshot.servers[Server.SERVING].answers(model):
        return False
    return snapshot.is_wanted(model) or model not in snapshot.models


def served_models(snapshot: Snapshot, before: frozenset[str]) -> frozenset[str]:
    """Those that requests are to be sent for, when `before` are those until now.

    A model is first sent requests when it is warmed and probed. A sidecar that was restarted, or
    that could not reach its server for a moment, must probe again; its clients do not wait.
    """
    view = snapshot.servers[Server.SERVING]
    if view.problem is not None:
        return before
    proven = {model for model in view.verified if is_served(snapshot, model)}
    return frozenset(proven | {model for model in before if _serves_on(snapshot, model)})


def has_unproven(snapshot: Snapshot) -> bool:
    """Whether models are there of which this process does not know yet that they answer."""
    view = snapshot.servers[Server.SERVING]
    return any(
        _serves_on(snapshot, model) and not is_served(snapshot, model) for model in view.index
    )


def _serves_on(snapshot: Snapshot, model: str) -> bool:
    if model in snapshot.leaving or not snapshot.servers[Server.SERVING].ready(model):
        return False
    failure = snapshot.failures.get((Server.SERVING, model))
    is_to_stay = snapshot.is_wanted(model) or model not in snapshot.models
    return is_to_stay and (failure is None or failure.lost)


def looked_at(own: Replica, snapshot: Snapshot) -> Replica:
    """This sidecar's replica, by what it has been until now and what this look saw."""
    models = served_models(snapshot, own.models)
    staged = snapshot.servers[Server.SERVING].staged
    return replace(
        own,
        models=models,
        stateful=frozenset(model for model in models if is_stateful(staged.get(model, ""))),
        joined=_has_joined(own, snapshot),
    )


def _has_joined(own: Replica, snapshot: Snapshot) -> bool:
    """Once it has, a new hot model that is not loaded yet does not take it out again."""
    if not unready(snapshot):
        return True
    is_there = snapshot.servers[Server.SERVING].problem is None
    return own.joined and is_there and snapshot.mode is not Mode.DRAINING


def routes_of(snapshot: Snapshot, own: Replica, others: Sequence[Replica] = ()) -> Routes:
    """To all that have joined, or to all while none has: there is nobody else then."""
    replicas = (own, *others)
    joined = tuple(replica for replica in replicas if replica.joined) or replicas
    canary = snapshot.servers[Server.CANARY]
    steered = {model: said for model, said in snapshot.steering.items() if model in own.models}
    answering = snapshot.servers[Server.SERVING].answers
    splits = {model: _split(said, answering(model)) for model, said in steered.items()}
    splits |= {model: split for model, split in _shifts(snapshot) if model in own.models}
    mirrored = {
        model: said
        for model, said in steered.items()
        if said.mirror and canary.ready(model) and not snapshot.shadows
    }
    return Routes(
        replicas=joined,
        splits={model: split for model, split in splits.items() if split},
        mirrors={model: said.mirror for model, said in mirrored.items()},
        samples=_samples(snapshot, own, mirrored),
        stateful=frozenset().union(*(replica.stateful for replica in joined)),
    )


def _samples(
    snapshot: Snapshot, own: Replica, mirrored: Mapping[str, Steering]
) -> Mapping[str, int]:
    """As many as whoever wants most of them: the comparison of answers, or the recording."""
    compared = {model: said.sample for model, said in mirrored.items()}
    recorded = {model: said.percent for model, said in snapshot.recording.items()}
    shares = {
        model: max(compared.get(model, 0), recorded.get(model, 0))
        # A request of a sequence that is asked again would change the sequence.
        for model in (compared.keys() | recorded.keys()) & own.models - own.stateful
    }
    return {model: share for model, share in shares.items() if share}


def _shifts(snapshot: Snapshot) -> Iterator[tuple[str, Split]]:
    """What releases say of models goes before what operators say: it is about to end."""
    for model, release in snapshot.releases.items():
        weights = release.weights
        if weights is not None:
            answering = snapshot.servers[Server.SERVING].answers(model)
            said = Steering(weights=weights, sticky_header=release.strategy.sticky_header)
            if split := _split(said, answering):
                yield model, split


def nameable(releases: Iterable[Release]) -> dict[str, dict[int, int]]:
    """Versions that a gateway may name of which it is not known what it was told, with weight 0."""
    return {
        release.model: {release.base: 0, release.version: 0}
        for release in releases
        if release.is_active and release.strategy.shift and release.base is not None
    }


def _split(said: Steering, answering: frozenset[int]) -> Split | None:
    """Among the versions that answer; what others should get goes to these."""
    weights = {
        version: weight
        for version, weight in said.weights.items()
        if version in answering and weight > 0
    }
    return Split(weights=weights, sticky_header=said.sticky_header) if weights else None
