"""Pictures of replays and costs. Their library comes with the extra `pilotlight[charts]`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from contract.bytes import format_bytes
from pilotlight.costs import ModelCosts

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from sidecar.core.replay import ReplayResult

INCHES = (11.0, 4.5)
DOTS_PER_INCH = 150
INCHES_PER_MODEL = 0.45
MIB = 1 << 20
ABOVE: dict[str, Any] = {
    "loc": "lower left",
    "bbox_to_anchor": (0, 1),
    "ncols": 3,
    "frameon": False,
}


class ChartsMissing(Exception):
    """The drawing library is not installed."""


def draw_waits(results: "Mapping[str, ReplayResult]", title: str, path: Path) -> None:
    """Mean waits side by side, and what share of all requests waits longer than so long.

    `results` are in the order of the picture; the suffix of `path` gives the format.

    Raises:
        ChartsMissing: with what to install.
    """
    figure = _figure(*INCHES)
    figure.suptitle(title)
    means, tails = figure.subplots(1, 2)
    names = list(results)
    bars = means.barh(
        names,
        [result.mean_wait_s for result in results.values()],
        color=[f"C{number}" for number in range(len(names))],
    )
    means.bar_label(bars, fmt="%.3g s", padding=3)
    means.margins(x=0.15)
    means.invert_yaxis()
    means.set_xlabel("mean wait per request, s")
    for name, result in results.items():
        waiting = len(result.waits_s)
        shares = [100 * (waiting - rank) / result.requests for rank in range(waiting)]
        tails.step(result.waits_s, shares, where="pre", label=name)
    tails.set_xlabel("wait, s")
    tails.set_ylabel("requests that wait longer, %")
    tails.set_yscale("log")
    tails.legend()
    figure.savefig(path, dpi=DOTS_PER_INCH)


def draw_costs(costs: Sequence[ModelCosts], path: Path) -> None:
    """Memory that each model holds with all its instances, and how long one of them loads.

    The largest model is on top; the suffix of `path` gives the format.

    Raises:
        ChartsMissing: with what to install.
    """
    width, least_height = INCHES
    ordered = sorted(costs, key=lambda each: each.held_bytes, reverse=True)
    figure = _figure(width, max(least_height, 1 + INCHES_PER_MODEL * len(ordered)))
    memory, loads = figure.subplots(1, 2, sharey=True)
    names = [f"{each.model} {each.version}" for each in ordered]
    shared = [each.shared_bytes / MIB for each in ordered]
    loaded = [each.instances * each.private_bytes / MIB for each in ordered]
    held = [each.held_bytes / MIB for each in ordered]
    bars = memory.barh(names, held, label="at the largest batch")
    memory.bar_label(bars, [format_bytes(each.held_bytes) for each in ordered], padding=3)
    memory.barh(names, loaded, left=shared, label="private")
    memory.barh(names, shared, label="shared")
    memory.margins(x=0.25)
    memory.invert_yaxis()
    memory.set_xlabel("memory of all instances, MiB")
    memory.legend(**ABOVE)
    rows = range(len(ordered))
    for label, shift, seconds in (
        ("files on disk", -0.2, [each.load_cold_s or 0.0 for each in ordered]),
        ("files in memory", 0.2, [each.load_s for each in ordered]),
    ):
        bars = loads.barh([row + shift for row in rows], seconds, height=0.38, label=label)
        loads.bar_label(bars, [f"{each:.3f} s" if each else "-" for each in seconds], padding=3)
    loads.margins(x=0.25)
    loads.set_xlabel("load of one instance, s")
    loads.legend(**ABOVE)
    figure.savefig(path, dpi=DOTS_PER_INCH)


def _figure(width: float, height: float) -> "Figure":
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 (an extra)
    except ImportError as error:
        raise ChartsMissing("charts need matplotlib: pip install 'pilotlight[charts]'") from error
    return Figure(figsize=(width, height), layout="constrained")
