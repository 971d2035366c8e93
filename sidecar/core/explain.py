"""Why a model is warm or cold, and what would have to change: with the planner's own functions."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import inf

from sidecar.core.actions import Blocked, LetGo
from sidecar.core.admission import Rooms, admit
from sidecar.core.cost import Basis, Reload
from sidecar.core.demand import (
    HORIZONS_S,
    break_even_per_hour,
    cold_starts_per_hour,
    held_share,
    keep_warm_value,
    next_burst_s,
    rates,
)
from sidecar.core.figures import Figures, Weighing
from sidecar.core.fleet import Quarantine, Server, Snapshot
from sidecar.core.loads import claims, kept_for
from sidecar.core.memory import GIB, Device
from sidecar.core.policy import Policy
from sidecar.core.ranking import Ranking
from sidecar.core.residency import dismissals, idle_at_s
from sidecar.core.status import ModelStatus, model_status
from sidecar.core.steady import Curve
from sidecar.core.worth import Worth, lasting_because, needed_because, stays_because

TOLD_AFTER_S = HORIZONS_S["24h"]
"""No forecast before a day of requests has been seen (POLICY.md section 4)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """How often a model is asked for: `per_hour` over about each of the demand's horizons.

    `expected_per_hour` is what the score counts with; `next_at_s` is when the next request of
    a regular model is due. `by_hour` counts requests by hour of the day, UTC.
    """

    requests: int
    first_at_s: float
    last_at_s: float
    per_hour: Mapping[str, float]
    expected_per_hour: float
    next_at_s: float | None
    by_hour: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bytes:
    device: Device
    bytes: int
    basis: Basis


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """Of the version that serves, or would.

    `loads` is from how many real loads it is known. `counted_s` is what `acceptable_s` does not
    forgive of the reload.
    """

    version: int
    loads: int
    reload: Reload
    acceptable_s: float
    counted_s: float
    needed: tuple[Bytes, ...]
    held: tuple[Bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What leaving after the idle timeout comes to, and what staying always would add."""

    cold_starts_per_hour: float
    held_share: float
    always_saves_s_per_hour: float
    always_costs_gib: float
    value: float
    """Cold-start seconds saved for each GiB-hour that is added."""
    is_worth_it: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Idle:
    """When a model is let go for want of requests; None: never.

    Above `break_even_per_hour` requests per hour, always loaded beats never kept; None where a
    cold start costs nothing. `forecast` is None before a day of requests has been seen.
    """

    timeout_s: float | None
    let_go_at_s: float | None
    break_even_per_hour: float | None
    forecast: Forecast | None
    advice: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadNow:
    """What a request at this moment would set off: who goes for it, or why it cannot be met.

    `on_cpu`: its GPU is full, and it would serve on the CPU.
    """

    victims: tuple[LetGo, ...]
    blocked: Blocked | None
    on_cpu: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """One model now. `stays_because` is why it is no victim, or none without its ensembles.

    `load` is None where no load would begin: the model is loaded, being loaded, in quarantine, or
    about to be tried again after a failure.
    """

    status: ModelStatus
    figures: Figures
    ranking: Ranking
    price: float
    stays_because: str | None
    asked: Asked | None
    costs: Costs
    idle: Idle
    load: LoadNow | None
    quarantine: Quarantine | None
    curves: tuple[Curve, ...]


def explain(snapshot: Snapshot, policy: Policy, now_s: float, model: str) -> Explanation:
    weighing = Weighing(snapshot, policy, now_s)
    worth = weighing.worth
    learned = worth.learned(model)
    return Explanation(
        status=model_status(snapshot, model),
        figures=weighing.figures(model),
        ranking=policy.ranking,
        price=policy.price,
        stays_because=stays_because(snapshot, model) or needed_because(snapshot, model),
        asked=_asked(worth, model, now_s),
        costs=_costs(weighing, model),
        idle=_idle(snapshot, worth, model, now_s),
        load=load_now(snapshot, policy, now_s, model),
        quarantine=snapshot.quarantine.get(model),
        curves=learned.curves if learned else (),
    )


def load_now(snapshot: Snapshot, policy: Policy, now_s: float, model: str) -> LoadNow | None:
    """What the planner would do if a request began to wait now; None when nothing is to load."""
    asked = replace(snapshot, waiting={model: now_s, **snapshot.waiting})
    weighing = Weighing(asked, policy, now_s)
    rooms = Rooms(asked, weighing.accounts, weighing.worth)
    for departure in dismissals(asked, weighing.worth, now_s):
        rooms.dismiss(departure)
    for claim in claims(asked, weighing.worth, now_s):
        gone = set(rooms.gone)
        blocked = admit([claim], rooms).blocked
        if (claim.server, claim.model) == (Server.SERVING, model):
            keeps = {keep.model: keep for keep in kept_for(blocked, rooms, now_s)}
            helped = model in keeps and keeps[model].on_cpu
            return LoadNow(
                victims=tuple(each for name, each in rooms.gone.items() if name not in gone),
                blocked=None if helped else blocked.get(model),
                on_cpu=helped,
            )
    return None


def _asked(worth: Worth, model: str, now_s: float) -> Asked | None:
    demand = worth.demand(model)
    if demand is None:
        return None
    return Asked(
        requests=demand.requests,
        first_at_s=demand.first_s,
        last_at_s=demand.last_s,
        per_hour={name: 3600.0 * rate for name, rate in rates(demand, now_s).items()},
        expected_per_hour=worth.expected_per_hour(model),
        next_at_s=next_burst_s(demand, now_s),
        by_hour=demand.by_hour,
    )


def _costs(weighing: Weighing, model: str) -> Costs:
    worth = weighing.worth
    learned = worth.learned(model)
    basis = worth.basis(model)
    return Costs(
        version=worth.version(model),
        loads=learned.loads if learned else 0,
        reload=worth.reload(model),
        acceptable_s=weighing.snapshot.models[model].intent.acceptable_cold_start_s,
        counted_s=worth.counted_s(model),
        needed=tuple(
            Bytes(device=device, bytes=needed, basis=basis)
            for device, needed in worth.needed(model).items()
        ),
        held=tuple(
            Bytes(device=device, bytes=holder.bytes, basis=holder.basis)
            for device, holder in weighing.held.get(model, {}).items()
        ),
    )


def _idle(snapshot: Snapshot, worth: Worth, model: str, now_s: float) -> Idle:
    gib = sum(worth.brought(model).values()) / GIB
    price, wait_s = worth.policy.price, worth.counted_s(model)
    let_go_at_s = idle_at_s(snapshot, worth, model) if model in snapshot.kept else inf
    forecast = _forecast(worth, model, gib, now_s)
    return Idle(
        timeout_s=_or_never(worth.idle_timeout_s(model)),
        let_go_at_s=_or_never(let_go_at_s),
        break_even_per_hour=break_even_per_hour(price=price, gib=gib, wait_s=wait_s)
        if wait_s > 0
        else None,
        forecast=forecast,
        advice=_advice(snapshot, model, forecast, price),
    )


def _forecast(worth: Worth, model: str, gib: float, now_s: float) -> Forecast | None:
    demand = worth.demand(model)
    if demand is None or now_s - demand.first_s < TOLD_AFTER_S:
        return None
    timeout_s, wait_s = worth.idle_timeout_s(model), worth.counted_s(model)
    cold_starts = cold_starts_per_hour(demand, timeout_s)
    share = held_share(demand, timeout_s)
    value = keep_warm_value(demand, wait_s=wait_s, gib=gib, idle_timeout_s=timeout_s)
    return Forecast(
        cold_starts_per_hour=cold_starts,
        held_share=share,
        always_saves_s_per_hour=cold_starts * wait_s,
        always_costs_gib=gib * (1.0 - share),
        value=value,
        is_worth_it=value > 0 and value >= worth.policy.price,
    )


def _advice(snapshot: Snapshot, model: str, forecast: Forecast | None, price: float) -> str:
    """Whether to keep the model always loaded, in one sentence."""
    lasting = lasting_because(snapshot, model)
    if lasting is not None:
        return f"it stays loaded in any case: {lasting}"
    if forecast is None:
        return "whether keeping it always loaded pays is told after a day of requests"
    if forecast.always_costs_gib <= 0:
        return "the idle timeout keeps it loaded anyway"
    compared = (
        f"always loaded, it would save {forecast.always_saves_s_per_hour:.3g} s of cold starts "
        f"per hour for {forecast.always_costs_gib:.3g} GiB more held: {forecast.value:.3g} s per "
        f"GiB-hour at a price of {price:g}"
    )
    if forecast.is_worth_it:
        return f"{compared}: worth a pin"
    return f"{compared}: better left to the idle timeout"


def _or_never(seconds: float) -> float | None:
    return seconds if seconds < inf else None
