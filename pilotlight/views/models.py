"""All models at a glance, and what is wanted of one."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from contract.bytes import format_bytes
from pilotlight.views import Body
from pilotlight.views.listing import FIGURE, LABEL, NAME, WORDS, Listing
from pilotlight.views.words import NONE, brief, clock, figure, or_none, passed
from sidecar.core.status import Warmth

WARMTH_STYLES = {
    Warmth.WARMED: "green",
    Warmth.LOADED: "yellow",
    Warmth.CPU: "yellow",
    Warmth.PAGE_CACHE: "cyan",
    Warmth.DISK: "dim",
}
_RANKS = {warmth: rank for rank, warmth in enumerate(Warmth)}


def by_warmth_and_demand(models: Sequence[Body]) -> list[Body]:
    """The warmest first; of equally warm ones, those that are asked for most."""
    return sorted(
        models,
        key=lambda model: (
            -_RANKS[Warmth(model["warmth"])],
            -model["requests_per_hour"],
            model["name"],
        ),
    )


def model_table(models: Sequence[Body], *, limit: int | None, now: datetime) -> RenderableType:
    """One line for each of the first `limit` models, and how many there are of each warmth."""
    table = Listing(
        {"model": NAME}
        | dict.fromkeys(("tier", "warmth", "serves"), LABEL)
        | dict.fromkeys(("asked", "holds", "idle"), FIGURE)
        | {"why": WORDS}
    )
    ordered = by_warmth_and_demand(models)
    for model in ordered[:limit]:
        warmth = Warmth(model["warmth"])
        table.add_row(
            escape(model["name"]),
            _tier(model),
            f"[{WARMTH_STYLES[warmth]}]{warmth}[/]",
            ", ".join(map(str, model["ready_versions"])) or NONE,
            f"{figure(model['requests_per_hour'])}/h",
            format_bytes(model["held_bytes"]) if model["held_bytes"] else NONE,
            or_none(model["last_request_at"], lambda at: passed(at, now)),
            Text(_why(model)),
        )
    return Group(table, Text(_counted(ordered, limit), style="dim"))


def pending_line(models: Sequence[Body]) -> str | None:
    """How many newer versions wait in the store for somebody to release them."""
    pending = [model for model in models if model["pending_version"]]
    if not pending:
        return None
    if len(pending) > 1:
        count = f"{len(pending)} models have a newer version"
        return f"{count} that nobody has released: pilotlight release --all-pending"
    name, version = pending[0]["name"], pending[0]["pending_version"]
    return f"nobody has released version {version} of {name}: pilotlight release {name} {version}"


def spec_view(spec: Body) -> RenderableType:
    """What holds for a model, what of it was said over REST, and what comes of it for others."""
    warnings = [Text.assemble(("warning", "yellow"), f": {each}") for each in spec["warnings"]]
    return Group(_spec_table(spec), *warnings)


def _spec_table(spec: Body) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in (spec["model"], "is", "said over REST"):
        table.add_column(escape(column))
    for key, value in spec["effective"].items():
        table.add_row(key, or_none(value, _plain), or_none(spec["overrides"][key], _plain))
    return table


def control_line(control: Body) -> str:
    since = f" since {clock(control['since'])}" if control["since"] else ""
    actor = f", asked for by {control['actor']}" if control["actor"] else ""
    return f"{control['mode']}{since}{actor}; profile {control['profile']}"


def _tier(model: Body) -> str:
    """With what else is wanted: `warm pin +2`."""
    pin = ["pin"] if model["pin"] else []
    priority = [f"{model['priority']:+}"] if model["priority"] else []
    return " ".join([model["tier"], *pin, *priority])


def _why(model: Body) -> str:
    """With the version that nobody has released, and those that are not released again."""
    pending, rejected = model["pending_version"], ", ".join(model["rejected_versions"])
    said = [brief(model["reason"])]
    said += [f"not released: version {pending}"] if pending else []
    said += [f"rejected: version {rejected}"] if rejected else []
    return "; ".join(said)


def _counted(models: Sequence[Body], limit: int | None) -> str:
    counts = Counter(Warmth(model["warmth"]) for model in models)
    present = [f"{counts[warmth]} {warmth}" for warmth in reversed(Warmth) if counts[warmth]]
    unseen = len(models) - len(models[:limit])
    left_out = f"; {unseen} not shown" if unseen else ""
    return f"{', '.join(present) or 'no model'}{left_out}"


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value).removesuffix(".0")
