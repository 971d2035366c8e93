"""Hot models that do not fit, or leave no room: said when it is asked for, not when one fails."""

from collections.abc import Mapping
from dataclasses import dataclass

from contract.bytes import format_bytes
from sidecar.core.figures import Weighing
from sidecar.core.fleet import Snapshot
from sidecar.core.memory import Device
from sidecar.core.policy import Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Overflow:
    """Hot models that need more on a device than its budget, headroom taken off; by size."""

    device: Device
    budget_bytes: int
    by_model: Mapping[str, int]

    @property
    def needed_bytes(self) -> int:
        return sum(self.by_model.values())

    def __str__(self) -> str:
        models = ", ".join(f"{name} {format_bytes(held)}" for name, held in self.by_model.items())
        return (
            f"the hot models need {format_bytes(self.needed_bytes)} on {self.device}, where "
            f"{format_bytes(self.budget_bytes)} are for models ({models}); raise the budget or "
            "make some of them warm"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Crowding:
    """Hot models that fit on a device, but leave too little there for each of `crowded_out`."""

    device: Device
    budget_bytes: int
    hot_bytes: int
    crowded_out: tuple[str, ...]

    def __str__(self) -> str:
        first, *others = self.crowded_out
        more = f" and {len(others)} more" if others else ""
        return (
            f"hot models take {format_bytes(self.hot_bytes)} of {format_bytes(self.budget_bytes)} "
            f"on {self.device}: no room for {first}{more}; raise the budget or make some of them "
            "warm"
        )


def crowding(snapshot: Snapshot, policy: Policy) -> tuple[Crowding, ...]:
    """One for each device on which hot models keep out a model that would fit without them."""
    weighing = Weighing(snapshot, policy, 0.0)
    hot = _hot(weighing)
    others = {
        name: weighing.worth.brought(name)
        for name in (sorted(snapshot.models.keys() - hot.keys()) if hot else ())
    }
    found = []
    for device, account in weighing.accounts.items():
        budget_bytes = account.budget_bytes
        hot_bytes = sum(needed.get(device, 0) for needed in hot.values())
        crowded_out = tuple(
            name
            for name, needed in others.items()
            if budget_bytes - hot_bytes < needed.get(device, 0) <= budget_bytes
        )
        if hot_bytes <= budget_bytes and crowded_out:
            found.append(
                Crowding(
                    device=device,
                    budget_bytes=budget_bytes,
                    hot_bytes=hot_bytes,
                    crowded_out=crowded_out,
                )
            )
    return tuple(found)


def hot_overflow(snapshot: Snapshot, policy: Policy) -> tuple[Overflow, ...]:
    """One for each device on which the hot models do not fit together."""
    weighing = Weighing(snapshot, policy, 0.0)
    needed = _hot(weighing)
    found = []
    for device, account in weighing.accounts.items():
        there = {name: each[device] for name, each in needed.items() if device in each}
        if sum(there.values()) > account.budget_bytes:
            by_model = dict(sorted(there.items(), key=lambda each: (-each[1], each[0])))
            limit = account.budget_bytes
            found.append(Overflow(device=device, budget_bytes=limit, by_model=by_model))
    return tuple(found)


def _hot(weighing: Weighing) -> dict[str, Mapping[Device, int]]:
    """What each hot model needs, and each model of the steps of a hot ensemble."""
    snapshot = weighing.snapshot
    hot = snapshot.hot_models()
    hot |= {part for name in hot for part in snapshot.composing(name)}
    return {name: weighing.worth.needed(name) for name in snapshot.models if name in hot}
