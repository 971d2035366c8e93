"""Hot models that do not fit together: said when they are asked for, not when they fail."""

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


def hot_overflow(snapshot: Snapshot, policy: Policy) -> tuple[Overflow, ...]:
    """One for each device on which the hot models do not fit together."""
    weighing = Weighing(snapshot, policy, 0.0)
    hot = snapshot.hot_models()
    hot |= {part for name in hot for part in snapshot.composing(name)} & snapshot.models.keys()
    needed = {name: weighing.worth.needed(name) for name in snapshot.models if name in hot}
    found = []
    for device, account in weighing.accounts.items():
        there = {name: each[device] for name, each in needed.items() if device in each}
        if sum(there.values()) > account.budget_bytes:
            by_model = dict(sorted(there.items(), key=lambda each: (-each[1], each[0])))
            limit = account.budget_bytes
            found.append(Overflow(device=device, budget_bytes=limit, by_model=by_model))
    return tuple(found)
