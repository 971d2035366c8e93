"""What the servers are to let go of."""

from collections.abc import Iterator

from sidecar.core.actions import Remove, Work
from sidecar.core.ensembles import has_outer, is_tied
from sidecar.core.fleet import Server, Snapshot
from sidecar.core.release import ReleaseState
from sidecar.core.stage_config import are_in_place
from sidecar.core.wanted import is_resting, placement, serving_versions


def removals(snapshot: Snapshot, now_s: float) -> Iterator[Work]:
    """Nothing while the store is unmounted, which alone tells what is made of what."""
    for server, view in snapshot.servers.items():
        if view.problem is not None or not snapshot.models:
            continue
        for model in sorted(view.staged.keys() | view.index.keys()):
            there = model in view.staged or not view.is_unloaded(model)
            if not there or (server, model) in snapshot.busy or is_tied(snapshot, server, model):
                continue
            failure = snapshot.failures.get((server, model))
            if failure and not failure.config and is_resting(failure, now_s):
                continue
            reason = reason_to_remove(snapshot, server, model)
            if reason and not has_outer(snapshot, server, model):
                yield Remove(
                    server=server,
                    model=model,
                    reason=reason,
                    regardless=server is Server.SERVING and snapshot.is_wanted(model),
                )


def reason_to_remove(snapshot: Snapshot, server: Server, model: str) -> str | None:
    """Why a server should let go of a model, else None.

    A model that vanished from the store keeps serving: an unmounted store must not take
    traffic down.
    """
    if server is Server.SERVING:
        return _reason_on_serving(snapshot, model) if model in snapshot.models else None
    wanted = placement(snapshot, server, model)
    if wanted is None:
        return "no release needs it on canary"
    view = snapshot.servers[server]
    staged = view.staged.get(model)
    if not view.is_unloaded(model) and not (staged and are_in_place(staged, wanted.config)):
        # A reload of the same version would fail silently; a fresh load cannot.
        return "the next step of its release starts from a fresh load"
    return None


def _reason_on_serving(snapshot: Snapshot, model: str) -> str | None:
    versions = serving_versions(snapshot, model)
    if versions:
        return _reason_to_make_room(snapshot, model, frozenset(versions))
    if not snapshot.is_wanted(model):
        return "nobody needs it now"
    release = snapshot.active_release(model)
    return release.reason if release and release.state is ReleaseState.ROLLING_BACK else None


def _reason_to_make_room(snapshot: Snapshot, model: str, wanted: frozenset[int]) -> str | None:
    """Where a release keeps one copy at a time, what is there leaves before the other comes."""
    release = snapshot.active_release(model)
    there = snapshot.servers[Server.SERVING].ready(model)
    if release is None or not release.keeps_one or not there or there & wanted:
        return None
    return f"there is room for one version at a time, and {min(wanted)} is to come"
