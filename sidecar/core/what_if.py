"""What would stay loaded under another budget: by the planner's scores and its accounts.

A steady picture, not a forecast: each model is held or is not, and each expected request to one
that is not waits for a whole load. `replay` plays a recorded day for the rest.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from contract.bytes import format_bytes
from contract.intent import Tier
from sidecar.core.figures import Weighing
from sidecar.core.fleet import Desired, Snapshot
from sidecar.core.memory import GIB, Device
from sidecar.core.overflow import hot_overflow
from sidecar.core.policy import Policy
from sidecar.core.worth import lasting_because


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A model that may be held; `must` is why it has to be.

    `cold_start_s_per_hour` is what requests would wait if it were not held.
    """

    model: str
    needed: Mapping[Device, int]
    score: float
    priority: int
    cold_start_s_per_hour: float
    must: str | None
    is_worth_it: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Why a candidate is held, or is not."""

    candidate: Candidate
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """One device; what one more GiB would save is told from the best model without room."""

    device: Device
    budget_bytes: int
    held_bytes: int
    one_more_gib_saves_s_per_hour: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """Who is held under one budget; `too_small` says what has to be loaded and does not fit."""

    held: tuple[Choice, ...]
    left_out: tuple[Choice, ...]
    spaces: tuple[Space, ...]
    too_small: tuple[str, ...]

    @property
    def cold_start_s_per_hour(self) -> float:
        return sum(choice.candidate.cold_start_s_per_hour for choice in self.left_out)


@dataclass(frozen=True, slots=True, kw_only=True)
class WhatIf:
    now: Outlook
    then: Outlook
    summary: str


def what_if(
    snapshot: Snapshot,
    policy: Policy,
    now_s: float,
    *,
    budgets: Mapping[Device, int] | None = None,
    load: Collection[str] = (),
) -> WhatIf:
    """Compare the present budgets with others, or with further models that have to be loaded."""
    asked = {name: Desired(loaded=True, requested_at_s=now_s) for name in load}
    now = outlook(snapshot, policy, now_s)
    then = outlook(
        replace(snapshot, desired={**snapshot.desired, **asked}),
        replace(policy, budgets={**policy.budgets, **(budgets or {})}),
        now_s,
    )
    return WhatIf(now=now, then=then, summary=_summary(now, then))


def outlook(snapshot: Snapshot, policy: Policy, now_s: float) -> Outlook:
    """Fill each device in the order in which the planner would give its memory away."""
    weighing = Weighing(snapshot, policy, now_s)
    limits = {
        device: account.budget_bytes - account.foreign_excess_bytes
        for device, account in weighing.accounts.items()
    }
    taken = dict.fromkeys(limits, 0)
    scarce = dict.fromkeys(limits, 0.0)
    held, left_out, too_small = [], [], [*map(str, hot_overflow(snapshot, policy))]
    for candidate in sorted(_candidates(snapshot, weighing), key=_order):
        full = [
            device
            for device, needed in candidate.needed.items()
            if device in limits and taken[device] + needed > limits[device]
        ]
        if not candidate.must and not candidate.is_worth_it:
            reason = "worth less than the price of its memory"
            left_out.append(Choice(candidate=candidate, reason=reason))
        elif not full:
            held.append(Choice(candidate=candidate, reason=candidate.must or "worth its memory"))
            for device in candidate.needed.keys() & limits.keys():
                taken[device] += candidate.needed[device]
        else:
            left_out.append(Choice(candidate=candidate, reason=f"no room on {', '.join(full)}"))
            if candidate.must:
                too_small.append(_lacks_room(candidate, full[0], limits[full[0]]))
            for device in full:
                density = candidate.cold_start_s_per_hour * GIB / max(1, candidate.needed[device])
                scarce[device] = max(scarce[device], density)
    return Outlook(
        held=tuple(held),
        left_out=tuple(left_out),
        spaces=tuple(
            Space(
                device=device,
                budget_bytes=limit,
                held_bytes=taken[device],
                one_more_gib_saves_s_per_hour=scarce[device],
            )
            for device, limit in limits.items()
        ),
        too_small=tuple(too_small),
    )


def _candidates(snapshot: Snapshot, weighing: Weighing) -> Iterator[Candidate]:
    """What is wanted, what is to be warm, and all that was ever asked for."""
    worth, policy = weighing.worth, weighing.policy
    for model, stored in snapshot.models.items():
        must = lasting_because(snapshot, model) if snapshot.is_wanted(model) else None
        is_warm = stored.tier is Tier.WARM
        if must is None and not is_warm and worth.demand(model) is None:
            continue
        score = weighing.score(model)
        yield Candidate(
            model=model,
            needed=worth.needed(model),
            score=score,
            priority=stored.intent.priority,
            cold_start_s_per_hour=worth.cold_start_s_per_hour(model),
            must=must,
            is_worth_it=is_warm or not policy.ranking.is_priced or score >= policy.price,
        )


def _order(candidate: Candidate) -> tuple[bool, int, float, str]:
    return candidate.must is None, -candidate.priority, -candidate.score, candidate.model


def _lacks_room(candidate: Candidate, device: Device, limit_bytes: int) -> str:
    return (
        f"{candidate.model} ({candidate.must}) needs {format_bytes(candidate.needed[device])} on "
        f"{device}, where too little of {format_bytes(limit_bytes)} is left"
    )


def _summary(now: Outlook, then: Outlook) -> str:
    compared = (
        f"{len(then.held)} models held instead of {len(now.held)}; about "
        f"{then.cold_start_s_per_hour:.3g} s of cold starts per hour instead of "
        f"{now.cold_start_s_per_hour:.3g}"
    )
    if then.too_small:
        return f"budget too small: {'; '.join(then.too_small)}; {compared}"
    return compared
