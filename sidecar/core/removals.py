"""What the servers are to let go of."""

from collections.abc import Iterator

from sidecar.core.actions import Remove, Work
from sidecar.core.fleet import Server, Snapshot
from sidecar.core.release import ReleaseState
from sidecar.core.wanted import is_resting, placement, serving_versions


def removals(snapshot: Snapshot, now_s: float) -> Iterator[Work]:
    for server, view in snapshot.servers.items():
        if view.problem is not None:
            continue
        for model in sorted(view.staged.keys() | view.index.keys()):
            there = model in view.staged or not view.is_unloaded(model)
            if not there or (server, model) in snapshot.busy:
                continue
            failure = snapshot.failures.get((server, model))
            if failure and not failure.config and is_resting(failure, now_s):
                continue
            reason = reason_to_remove(snapshot, server, model)
            if reason:
                yield Remove(server=server, model=model, reason=reason)


def reason_to_remove(snapshot: Snapshot, server: Server, model: str) -> str | None:
    """Why a server should let go of a model, else None.

    A model that vanished from the store keeps serving: an unmounted store must not take
    traffic down.
    """
    if server is Server.SERVING:
        if model not in snapshot.models or serving_versions(snapshot, model):
            return None
        if not snapshot.is_wanted(model):
            return "nobody needs it now"
        release = snapshot.active_release(model)
        return release.reason if release and release.state is ReleaseState.ROLLING_BACK else None
    wanted = placement(snapshot, server, model)
    if wanted is None:
        return "no release needs it on canary"
    view = snapshot.servers[server]
    if not view.is_unloaded(model) and view.staged.get(model) != wanted.config:
        # A reload of the same version would fail silently; a fresh load cannot.
        return "the next step of its release starts from a fresh load"
    return None
