"""Whether a release fits at its peak, asked before anything is loaded for it."""

from contract.bytes import format_bytes
from sidecar.core.admission import Claim, Rooms
from sidecar.core.fleet import Server, Snapshot
from sidecar.core.ledger import ledger, needed_bytes
from sidecar.core.policy import Policy
from sidecar.core.release import Release
from sidecar.core.wanted import serving_versions
from sidecar.core.worth import Worth


def shortfall(release: Release, snapshot: Snapshot, policy: Policy, now_s: float) -> str | None:
    """Why the serving server has no room for what the release will load there, else None.

    What may be evicted for it counts as free; what passes, like the canary's part, does too.
    """
    model, there = release.model, serving_versions(snapshot, release.model)
    if not there:
        return None
    worth = Worth(snapshot, policy, now_s)
    need = needed_bytes(snapshot, worth.gpus, model, [release.version])
    if release.keeps_one:
        leaves = needed_bytes(snapshot, worth.gpus, model, there)
        need = {device: held - leaves.get(device, 0) for device, held in need.items()}
    rooms = Rooms(snapshot, ledger(snapshot, policy), worth)
    if rooms.will_fit(need):
        return None
    obstacle = rooms.make(Claim(server=Server.SERVING, model=model, need=need))
    if obstacle is None or not obstacle.is_final:
        return None
    return (
        str(obstacle) if release.keeps_one else f"{obstacle}; {_price(release, snapshot, policy)}"
    )


def _price(release: Release, snapshot: Snapshot, policy: Policy) -> str:
    """What it costs to keep one copy at a time, by what a load takes.

    Where canary shares the memory, the version is proven beside the one that serves, and that
    does not fit either.
    """
    version = release.version
    learned = snapshot.learned.get((release.model, release.base or version))
    cost = snapshot.models[release.model].versions[version].manifest.cost
    load_s = learned.load_s if learned is not None and learned.load_s else cost.load_s
    held = format_bytes(cost.private_bytes + cost.shared_bytes)
    beside = f"version {version} ({held}) does not fit beside version {release.base}"
    if not policy.canary_apart:
        return (
            f"{beside}; with a canary on another machine or GPU (policy.canary_apart), the "
            "strategy copies: one_at_a_time would need room for one"
        )
    return (
        f"{beside}; the strategy "
        f"copies: one_at_a_time needs room for one, and requests wait {load_s:.1f} s or more for "
        "its load, and once more in a rollback"
    )
