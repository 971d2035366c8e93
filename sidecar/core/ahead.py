"""Files of the models that are likely next, read into the page cache while nothing else goes on.

A load with its files there takes a fraction of the time: first in the order of worth come
those whose next request would wait for the disk.
"""

from collections.abc import Iterator

from sidecar.core.actions import ReadAhead
from sidecar.core.fleet import Server, Snapshot
from sidecar.core.memory import CPU
from sidecar.core.policy import Policy
from sidecar.core.worth import Worth

AT_ONCE = 2
FREE_SHARE = 0.5
"""Of the memory that nobody uses, for files; they go as soon as anybody needs it."""


def read_aheads(snapshot: Snapshot, policy: Policy, worth: Worth) -> Iterator[ReadAhead]:
    """As many of the most valuable absent models as the host has room for, a few at a time."""
    room = host_bytes(snapshot, policy)
    if snapshot.busy or snapshot.checking or snapshot.waiting or not room:
        return
    view = snapshot.servers[Server.SERVING]
    absent = [
        (worth.score(model, sum(worth.brought(model).values())), model)
        for model in snapshot.demand
        if model in snapshot.models and not snapshot.is_wanted(model) and view.is_unloaded(model)
    ]
    begun = 0
    for score, model in sorted(absent, key=lambda each: (-each[0], each[1])):
        version = worth.version(model)
        disk_bytes = snapshot.models[model].versions[version].manifest.cost.disk_bytes
        if disk_bytes > room or begun == AT_ONCE:
            return
        room -= disk_bytes
        if model not in snapshot.cached:
            begun += 1
            reason = f"likely next: worth {score:.3g} s of waiting per hour and GiB"
            yield ReadAhead(model=model, version=version, reason=reason)


def host_bytes(snapshot: Snapshot, policy: Policy) -> int:
    """What the page cache may hold of models that are not loaded."""
    if policy.page_cache_bytes is not None:
        return policy.page_cache_bytes
    reading = snapshot.readings.get(CPU)
    return int(FREE_SHARE * (reading.capacity_bytes - reading.used_bytes)) if reading else 0
