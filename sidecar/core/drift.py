"""What somebody else did to a server that we drive."""

from collections.abc import Collection, Mapping

from sidecar.core.fleet import Drift, DriftKind, Server, Snapshot


def drifts(
    before: Snapshot, now: Snapshot, begun: Collection[tuple[Server, str]] = ()
) -> Mapping[str, Drift]:
    """By model. A server that was lost, or holds nothing any more, has restarted: no drift.

    Nor is it when an ensemble goes with a model of its steps.
    `begun` is the work of our own since the look before: it may have ended since, too.
    """
    old, new = before.servers[Server.SERVING], now.servers[Server.SERVING]
    if old.problem is not None or new.problem is not None:
        return {}
    held = {model for model in old.verified if old.answers(model)}
    if held and not any(new.ready(model) for model in held):
        return {}
    ours = before.busy | now.busy | frozenset(begun)
    found = {}
    for model in sorted(new.index.keys() | held):
        if (Server.SERVING, model) in ours:
            continue
        came = new.ready(model) - old.ready(model)
        went = old.answers(model) - new.ready(model)
        if came and not before.is_wanted(model) and before.active_release(model) is None:
            found[model] = Drift(kind=DriftKind.LOADED, versions=tuple(sorted(came)))
        elif went and now.is_wanted(model) and all(map(new.ready, now.composing(model))):
            found[model] = Drift(kind=DriftKind.UNLOADED, versions=tuple(sorted(went)))
    return found
