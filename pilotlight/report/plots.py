"""Pictures of a trial as SVG that goes into a page.

Colours are those of the page, light or dark: what matplotlib draws in one of `Ink` becomes a
variable of the style sheet. The same values give the same bytes.
"""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from math import floor, log10

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from sidecar.core.trial import Pair

MIB = 2**20
WIDE_IN = 7.6
NARROW_IN = 3.7
HEIGHT_IN = 2.3
ROW_IN = 0.3
LONGEST_LABEL = 32
LABEL_GAP = 3
"""Points."""
MOST_DECADES = 6
DECADES_SPREAD = 6.0
"""An axis whose ends are further apart than so many times has ticks by decades."""


class Ink(StrEnum):
    """Stand-ins for the page's colours."""

    TEXT = "#010101"
    FAINT = "#010102"
    BASE = "#010103"
    VERSION = "#010104"
    BAD = "#010105"


_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))
_PROLOGUE = re.compile(r"^.*?(?=<svg )", re.DOTALL)
_NOT_FOR_A_PAGE = re.compile(r"<style.*?</style>|(?<=<g) id=\"[^\"]*\"", re.DOTALL)
"""Rules that would hold for the whole page, and names that every picture has."""


def ratios(name: str, races: Mapping[str, Sequence[Pair]], margin: float | None) -> str:
    """How much longer the new version takes for each shape, and how much longer it may take.

    Medians, and what nine tenths of the requests lie between.
    """

    def draw(axes: Axes) -> None:
        for row, pairs in enumerate(races.values()):
            low, middle, high = np.quantile([new / old for old, new in pairs], (0.05, 0.5, 0.95))
            is_over = margin is not None and middle > 1 + margin
            ink = Ink.BAD if is_over else Ink.VERSION
            axes.plot([low, high], [row, row], color=ink, linewidth=3, alpha=0.5)
            axes.plot(middle, row, "X" if is_over else "o", color=ink, markersize=7)
        axes.axvline(1, color=Ink.TEXT, linewidth=1)
        axes.set_xscale("log")
        left, right = axes.get_xlim()
        right = max(right, 1.1 * (1 + (margin or 0)), 1.1)
        axes.set_xlim(min(left, 1 / 1.1), right)
        if margin is not None:
            axes.axvspan(1 + margin, right, color=Ink.BAD, alpha=0.12, linewidth=0)
            axes.axvline(1 + margin, color=Ink.BAD, linewidth=1, linestyle="--")
            _beside(axes, 1 + margin, "too slow", side="left", color=Ink.BAD)
        _beside(axes, 1, "faster", side="right", color=Ink.TEXT)
        axes.set_yticks(range(len(races)), [_label(shape) for shape in races])
        axes.set_ylim(len(races) - 0.5, -1)
        axes.grid(visible=False, axis="y")
        _tick(axes.xaxis)
        axes.set_xlabel("latency of the new version, times that of the base")

    return _drawn(name, draw, WIDE_IN, 0.8 + ROW_IN * (len(races) + 0.5))


def latencies(name: str, pairs: Sequence[Pair], base: int, version: int) -> str:
    """What share of the requests each version has answered after so many milliseconds."""

    def draw(axes: Axes) -> None:
        for taken_ms, number, ink, line, marker in (
            ([pair.base_ms for pair in pairs], base, Ink.BASE, "-", "o"),
            ([pair.version_ms for pair in pairs], version, Ink.VERSION, "--", "D"),
        ):
            axes.ecdf(taken_ms, color=ink, linestyle=line, linewidth=1.6, label=f"version {number}")
            axes.plot(np.median(taken_ms), 0.5, marker, color=ink, markersize=5)
        axes.set_xscale("log")
        _tick(axes.xaxis)
        _percent(axes, "answered, %")
        axes.set_xlabel("latency, ms")
        axes.legend(loc="lower right")

    return _drawn(name, draw, NARROW_IN, HEIGHT_IN)


def errors(name: str, found: Sequence[float], comparable: float, tolerance: float | None) -> str:
    """What share of the answers differ by no more than so much.

    `comparable` is the share of all answers that `found` stands for. Equal answers are drawn at
    the left edge, which a logarithmic axis does not have.
    """
    least = min([each for each in [*found, tolerance] if each], default=1.0)
    edge = 10.0 ** (floor(log10(least)) - 1)

    def draw(axes: Axes) -> None:
        drawn = np.sort(np.maximum(found, edge))
        shares = comparable * np.arange(1, len(drawn) + 1) / len(drawn)
        axes.step([edge, *drawn], [0, *shares], where="post", color=Ink.VERSION, linewidth=1.6)
        axes.set_xscale("log")
        right = 10.0 * max(drawn[-1], tolerance or 0)
        axes.hlines(shares[-1], drawn[-1], right, color=Ink.VERSION, linewidth=1.6)
        axes.set_xlim(edge / 1.5, right)
        if tolerance:
            axes.axvspan(tolerance, right, color=Ink.BAD, alpha=0.12, linewidth=0)
            axes.axvline(tolerance, color=Ink.BAD, linewidth=1, linestyle="--")
        decades = range(floor(log10(edge)) + 1, floor(log10(right)) + 1)
        shown = decades[:: len(decades) // MOST_DECADES + 1]
        axes.set_xticks(
            [edge, *(10.0**decade for decade in shown)],
            ["equal", *(f"10{str(decade).translate(_RAISED)}" for decade in shown)],
        )
        axes.xaxis.set_minor_locator(NullLocator())
        _percent(axes, "answers, %")
        axes.set_xlabel("scaled error at most")

    return _drawn(name, draw, NARROW_IN, HEIGHT_IN)


def memory(name: str, readings: Sequence[tuple[int, int]], span_bytes: float) -> str:
    """Growth since the first reading; readings are requests until then, and bytes held.

    The axis spans at least `span_bytes`.
    """
    _, first_bytes = readings[0]

    def draw(axes: Axes) -> None:
        growth_mib = [(held - first_bytes) / MIB for _, held in readings]
        axes.plot(
            [requests for requests, _ in readings],
            growth_mib,
            "o-",
            color=Ink.VERSION,
            markersize=2.5,
            linewidth=1.2,
        )
        axes.axhline(0, color=Ink.TEXT, linewidth=0.8)
        lowest, highest = axes.get_ylim()
        axes.set_ylim(min(lowest, -0.1 * span_bytes / MIB), max(highest, span_bytes / MIB))
        axes.set_xlabel("requests until then")
        axes.set_ylabel("growth, MiB")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))

    return _drawn(name, draw, WIDE_IN, HEIGHT_IN)


def _drawn(name: str, draw: Callable[[Axes], None], width_in: float, height_in: float) -> str:
    """`name` keeps apart what is named inside pictures on one page."""
    style = mpl.rc_context(
        {
            "svg.fonttype": "none",
            "text.parse_math": False,
            "font.family": "sans-serif",
            "font.size": 8.5,
            "text.color": Ink.TEXT,
            "axes.labelcolor": Ink.TEXT,
            "axes.edgecolor": Ink.FAINT,
            "axes.facecolor": "none",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.color": Ink.FAINT,
            "grid.alpha": 0.25,
            "xtick.color": Ink.FAINT,
            "ytick.color": Ink.FAINT,
            "xtick.labelcolor": Ink.TEXT,
            "ytick.labelcolor": Ink.TEXT,
            "figure.facecolor": "none",
            "legend.frameon": False,
            "svg.hashsalt": name,
        }
    )
    with style:
        figure = Figure(figsize=(width_in, height_in), layout="constrained")
        draw(figure.subplots())
        written = io.StringIO()
        figure.savefig(written, format="svg", metadata=_NO_METADATA)
    svg = _NOT_FOR_A_PAGE.sub("", _PROLOGUE.sub("", written.getvalue()))
    for ink in Ink:
        svg = svg.replace(ink.value, f"var(--{ink.name.lower()})")
    return svg


def _beside(axes: Axes, at: float, text: str, *, side: str, color: Ink) -> None:
    """At the top of a vertical line; `side` is that of the text at which the line is."""
    gap = LABEL_GAP if side == "left" else -LABEL_GAP
    axes.annotate(
        text, (at, -0.95), (gap, 0), textcoords="offset points", ha=side, va="top", color=color
    )


def _percent(axes: Axes, label: str) -> None:
    axes.set_ylim(0, 1.03)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "25", "50", "75", "100"])
    axes.set_ylabel(label)


def _tick(axis: Axis) -> None:
    """Plain numbers on a logarithmic axis, however short or long it is."""
    low, high = axis.get_view_interval()
    by_decades = high / low > DECADES_SPREAD
    axis.set_major_locator(
        LogLocator(subs=(1, 2, 5)) if by_decades else MaxNLocator(6, steps=[1, 2, 5, 10])
    )
    axis.set_major_formatter(FuncFormatter(lambda at, _: f"{at:g}"))
    axis.set_minor_locator(NullLocator())


def _label(text: str) -> str:
    """What an axis has room for."""
    plain = "".join(character if character.isprintable() else "\ufffd" for character in text)
    return plain if len(plain) <= LONGEST_LABEL else f"{plain[: LONGEST_LABEL - 1]}…"
