"""Why a model is warm or cold, in sentences and small tables."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from contract.bytes import format_bytes
from pilotlight.views import Body
from pilotlight.views.words import ago, ahead, clock, figure, passed, seconds, span
from sidecar.core.faults import FaultKind, ended_by
from sidecar.core.ranking import Ranking
from sidecar.core.steady import BARS

Row = tuple[str, str]


def explanation_view(found: Body, *, now: datetime) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    for label, text in _rows(found, now):
        table.add_row(f"[bold]{label}[/]", escape(text))
    curves = [_curves(found["curves"])] if found["curves"] else []
    return Group(table, *curves)


def load_sentence(model: str, load: Body | None) -> str:
    """What a request for a model would set off now."""
    if load is None:
        return f"{model} is loaded, is being loaded, or is in quarantine"
    if load["blocked"]:
        reason: str = load["blocked"]["reason"]
        return f"{model} cannot be loaded: {reason}"
    where = "would serve on the CPU, as its GPU is full" if load["on_cpu"] else "fits"
    if not load["victims"]:
        return f"{model} {where}; nothing would be evicted"
    victims = ", ".join(
        f"{victim['model']} ({format_bytes(victim['freed_bytes'])}, "
        f"score {figure(victim['score'])})"
        for victim in load["victims"]
    )
    return f"loading {model} would evict {victims}"


def _rows(found: Body, now: datetime) -> Iterator[Row]:
    model = found["model"]
    yield model["name"], f"{_wanted(model)}; {model['warmth']}: {model['reason']}"
    if pending := model["pending_version"]:
        yield "newer", f"version {pending}; `pilotlight release {model['name']} {pending}`"
    for version, reason in model["rejected_versions"].items():
        clear = f"`pilotlight unreject {model['name']} {version}` lets it be released again"
        yield "rejected", f"version {version}: {reason}; {clear}"
    if found["quarantine"]:
        yield "quarantine", _quarantine(found["quarantine"], now)
    if found["stays_because"]:
        yield "stays", found["stays_because"]
    yield from _demand(found["demand"], now)
    yield "cold start", _cold_start(found["cost"])
    yield "memory", _memory(found["cost"])
    yield "worth", _worth(found)
    yield from _idle(found["idle"], now)
    if found["load"]:
        yield "a request", load_sentence(model["name"], found["load"])


def _wanted(model: Body) -> str:
    pinned = ["pinned"] if model["pin"] else []
    priority = [f"priority {model['priority']}"] if model["priority"] else []
    return ", ".join([model["tier"], *pinned, *priority])


def _quarantine(quarantine: Body, now: datetime) -> str:
    end = (
        f"ends by itself {ahead(quarantine['until'], now)}"
        if quarantine["until"]
        else f"ends with {ended_by(FaultKind(quarantine['kind']))}"
    )
    return (
        f"for {passed(quarantine['since'], now)}, {end}; {quarantine['times']} in a row, "
        f"{quarantine['kind']}: {quarantine['reason']}"
    )


def _demand(demand: Body | None, now: datetime) -> Iterator[Row]:
    if demand is None:
        yield "asked for", "never"
        return
    due = f", next {ahead(demand['next_at'], now)}" if demand["next_at"] else ""
    yield (
        "asked for",
        f"{demand['requests']} times since {clock(demand['first_at'])}, "
        f"last {ago(demand['last_at'], now)}{due}",
    )
    rates = ", ".join(f"{figure(rate)} in {name}" for name, rate in demand["per_hour"].items())
    yield "per hour", f"{rates}; {figure(demand['expected_per_hour'])} expected"
    yield "by hour", f"{_bars(demand['by_hour'])} 0 to 23 h UTC"


def _cold_start(cost: Body) -> str:
    reload = cost["reload"]
    known = f"loads seen: {cost['loads']}" if cost["loads"] else "declared, never loaded yet"
    parts = (
        f"read {seconds(reload['read_s'])}, load {seconds(reload['load_s'])}, "
        f"warm-up {seconds(reload['warm_up_s'])}"
    )
    accepted = f"; {seconds(cost['acceptable_s'])} are accepted" if cost["acceptable_s"] else ""
    return (
        f"version {cost['version']}: {seconds(reload['seconds'])} ({parts}; {known})"
        f"{accepted}; {seconds(cost['counted_s'])} count"
    )


def _memory(cost: Body) -> str:
    verb, amounts = ("holds", cost["held"]) if cost["held"] else ("would hold", cost["needed"])
    each = ", ".join(
        f"{format_bytes(amount['bytes'])} on {amount['device']} ({amount['basis']})"
        for amount in amounts
    )
    return f"{verb} {each}"


def _worth(found: Body) -> str:
    score = figure(found["model"]["score"])
    if not Ranking(found["ranking"]).is_priced:
        return f"score {score} ({found['ranking']})"
    return (
        f"{score} s of cold starts per hour for each GiB; the price of a GiB-hour is "
        f"{figure(found['price'])} s"
    )


def _idle(idle: Body, now: datetime) -> Iterator[Row]:
    timeout = (
        f"let go after {span(idle['timeout_s'])} without a request"
        if idle["timeout_s"] is not None
        else "never let go for want of requests"
    )
    due = f", {ahead(idle['let_go_at'], now)}" if idle["let_go_at"] else ""
    pays = idle["break_even_per_hour"]
    even = f"; always loaded pays above {figure(pays)}/h" if pays is not None else ""
    yield "idle", f"{timeout}{due}{even}"
    if forecast := idle["forecast"]:
        yield (
            "forecast",
            f"{figure(forecast['cold_starts_per_hour'])} cold starts per hour, "
            f"loaded {forecast['held_share']:.0%} of the time",
        )
    yield "advice", idle["advice"]


def _curves(curves: Sequence[Body]) -> Table:
    table = Table(box=None, pad_edge=False, title="warm-up after the newest load")
    table.title_justify = "left"
    table.add_column("shape", no_wrap=True)
    for column in ("runs", "first", "steady", "took"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("latency", no_wrap=True)
    for curve in curves:
        settled = f"{figure(curve['steady_ms'])} ms"
        table.add_row(
            escape(curve["shape"]),
            str(curve["runs"]),
            f"{figure(curve['first_ms'])} ms",
            settled if curve["steady"] else f"not by {settled}",
            seconds(curve["seconds"]),
            curve["sparkline"],
        )
    return table


def _bars(counts: Sequence[int]) -> str:
    highest = max(*counts, 1)
    return "".join(BARS[round(count / highest * (len(BARS) - 1))] for count in counts)
