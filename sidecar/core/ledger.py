"""Who holds how much of each device's memory, and what is left to give.

A load counts from the moment it is decided; an unload counts until the index says that it is
done. What is measured counts before what was learned, and that before what was declared.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from sidecar.core.cost import Basis, footprint, is_on_cpu
from sidecar.core.fleet import Server, Snapshot, VersionState
from sidecar.core.memory import Device, Reading
from sidecar.core.policy import Policy
from sidecar.core.wanted import placement, serving_versions


class Hold(StrEnum):
    """`reserved`: a load in flight; `leaving`: not wanted any more, but still there."""

    HELD = "held"
    RESERVED = "reserved"
    LEAVING = "leaving"


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Of `bytes`, `freed_bytes` come free when the model goes: not what others hold with it."""

    server: Server
    model: str
    bytes: int
    freed_bytes: int
    basis: Basis
    hold: Hold


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One device, bytes.

    `budget_bytes` is what models may hold, headroom already taken off; `capacity_bytes` and
    `measured_bytes` (the serving server's own processes) are None where nothing measures
    them; `foreign_bytes` is what others use, and the servers' own code; `spare_bytes` of it
    the budget leaves free anyway.
    """

    device: Device
    budget_bytes: int
    capacity_bytes: int | None
    measured_bytes: int | None
    foreign_bytes: int
    spare_bytes: int
    holders: tuple[Holder, ...]

    def sum_of(self, *holds: Hold) -> int:
        return sum(holder.bytes for holder in self.holders if holder.hold in holds)

    @property
    def leaving_bytes(self) -> int:
        """What comes free when all that is leaving has left."""
        return sum(each.freed_bytes for each in self.holders if each.hold is Hold.LEAVING)

    @property
    def free_bytes(self) -> int:
        """What can still be given; negative when more is held than may be."""
        return self.budget_bytes - self.foreign_excess_bytes - self.sum_of(*Hold)

    @property
    def foreign_excess_bytes(self) -> int:
        """What others use beyond the memory that the budget leaves them anyway."""
        return max(0, self.foreign_bytes - self.spare_bytes)

    @property
    def error_bytes(self) -> int | None:
        """Measured minus accounted for; positive when models hold more than we think."""
        if self.measured_bytes is None:
            return None
        return self.measured_bytes - self.sum_of(Hold.HELD, Hold.LEAVING)


def ledger(snapshot: Snapshot, policy: Policy) -> Mapping[Device, Account]:
    """One account per device that has a budget or is measured."""
    devices = sorted(snapshot.readings.keys() | policy.budgets.keys())
    holders: dict[Device, list[Holder]] = {device: [] for device in devices}
    for device, holder in _holders(snapshot, policy):
        if device in holders:
            holders[device].append(holder)
    return {
        device: _account(snapshot, policy, device, tuple(holders[device])) for device in devices
    }


def gpus_of(snapshot: Snapshot, policy: Policy) -> tuple[Device, ...]:
    known = snapshot.readings.keys() | policy.budgets.keys()
    return tuple(sorted(device for device in known if device.startswith("gpu:")))


def needed_bytes(
    snapshot: Snapshot,
    gpus: tuple[Device, ...],
    model: str,
    versions: Iterable[int],
    *,
    on_cpu: bool = False,
) -> dict[Device, int]:
    """What these versions of a model hold together, or would."""
    found = _sum(snapshot, gpus, model, versions, on_cpu=on_cpu)
    return {device: held for device, (held, _) in found.items()}


def added_bytes(
    snapshot: Snapshot, gpus: tuple[Device, ...], server: Server, model: str
) -> dict[Device, int]:
    """What a server comes to hold beside what it has of a model, when it does as is wanted.

    A version that moves to another device is on both until it is done.
    """
    wanted = placement(snapshot, server, model)
    if wanted is None:
        return {}
    there, was_on_cpu = _present(snapshot, gpus, server, model)
    to_cpu = is_on_cpu(wanted.config, gpus)
    coming = set(wanted.versions) - there if was_on_cpu == to_cpu else wanted.versions
    return needed_bytes(snapshot, gpus, model, coming, on_cpu=to_cpu)


def _present(
    snapshot: Snapshot, gpus: tuple[Device, ...], server: Server, model: str
) -> tuple[set[int], bool]:
    """Versions that a server holds or is about to give up, and whether on the CPU."""
    view = snapshot.servers[server]
    there = {
        version
        for version, state in view.index.get(model, {}).items()
        if state is not VersionState.UNAVAILABLE
    }
    proven = view.verified.get(model)
    config = proven.config if proven else view.staged.get(model, "")
    return there, is_on_cpu(config, gpus)


def _sum(
    snapshot: Snapshot,
    gpus: tuple[Device, ...],
    model: str,
    versions: Iterable[int],
    *,
    on_cpu: bool,
) -> dict[Device, tuple[int, Basis]]:
    """A version that vanished from the store counts as was learned of it."""
    known = snapshot.models.get(model)
    stored = known.versions if known else {}
    total: dict[Device, tuple[int, Basis]] = {}
    for version in versions:
        learned = snapshot.learned.get((model, version))
        if version in stored:
            found, basis = footprint(stored[version], learned, gpus, on_cpu=on_cpu)
        else:
            found, basis = (learned.held_bytes if learned else {}), Basis.LEARNED
        for device, held in found.items():
            before, _ = total.get(device, (0, basis))
            total[device] = (before + held, basis)
    return total


def _holders(snapshot: Snapshot, policy: Policy) -> Iterator[tuple[Device, Holder]]:
    gpus = gpus_of(snapshot, policy)
    for server, view in snapshot.servers.items():
        if server is Server.CANARY and policy.canary_apart:
            continue
        loading = {model for at, model in snapshot.busy if at is server}
        for model in sorted(view.index.keys() | loading):
            there, on_cpu = _present(snapshot, gpus, server, model)
            held = _sum(snapshot, gpus, model, there, on_cpu=on_cpu)
            added = added_bytes(snapshot, gpus, server, model) if model in loading else {}
            hold = _hold(snapshot, server, model, is_coming=bool(added))
            for device in held.keys() | added.keys():
                declared, basis = held.get(device, (0, Basis.DECLARED))
                total = declared + added.get(device, 0)
                holder = Holder(
                    server=server,
                    model=model,
                    bytes=total,
                    freed_bytes=total,
                    basis=basis,
                    hold=hold,
                )
                is_busy = (server, model) in snapshot.busy
                is_measured = server is Server.SERVING and not is_busy
                reading = snapshot.readings.get(device) if is_measured else None
                yield device, _measured(holder, reading) if reading else holder


def _measured(holder: Holder, reading: Reading) -> Holder:
    held = reading.by_model.get(holder.model)
    if held is None:
        return holder
    alone = reading.alone_by_model.get(holder.model, held)
    return replace(holder, bytes=held, freed_bytes=alone, basis=Basis.MEASURED)


def _hold(snapshot: Snapshot, server: Server, model: str, *, is_coming: bool) -> Hold:
    if is_coming:
        return Hold.RESERVED
    if model not in snapshot.models:
        # An unmounted store takes no traffic down.
        return Hold.HELD
    if server is Server.SERVING:
        return Hold.HELD if serving_versions(snapshot, model) else Hold.LEAVING
    return Hold.HELD if placement(snapshot, server, model) else Hold.LEAVING


def _account(
    snapshot: Snapshot, policy: Policy, device: Device, holders: tuple[Holder, ...]
) -> Account:
    reading = snapshot.readings.get(device)
    capacity = reading.capacity_bytes if reading else None
    limit = policy.budgets.get(device, capacity)
    if limit is None:
        raise ValueError(f"{device} has neither a budget nor a measured capacity")
    held = sum(holder.bytes for holder in holders if holder.hold is not Hold.RESERVED)
    budget = int(limit * (1 - policy.headroom))
    return Account(
        device=device,
        budget_bytes=budget,
        spare_bytes=max(0, int((capacity or 0) * (1 - policy.headroom)) - budget),
        capacity_bytes=capacity,
        measured_bytes=reading.server_bytes if reading else None,
        foreign_bytes=max(0, reading.used_bytes - held) if reading else 0,
        holders=holders,
    )
