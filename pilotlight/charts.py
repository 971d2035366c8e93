"""Pictures of replays. Their library comes with the extra `pilotlight[charts]`."""

from collections.abc import Mapping
from pathlib import Path

from sidecar.core.replay import ReplayResult

INCHES = (11.0, 4.5)
DOTS_PER_INCH = 150


class ChartsMissing(Exception):
    """The drawing library is not installed."""


def draw_waits(results: Mapping[str, ReplayResult], title: str, path: Path) -> None:
    """Mean waits side by side, and what share of all requests waits longer than so long.

    `results` are in the order of the picture; the suffix of `path` gives the format.

    Raises:
        ChartsMissing: with what to install.
    """
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 (an extra)
    except ImportError as error:
        raise ChartsMissing("charts need matplotlib: pip install 'pilotlight[charts]'") from error
    figure = Figure(figsize=INCHES, layout="constrained")
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
