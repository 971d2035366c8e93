"""How often the judge is right, by simulation: `python -m bench.judge`.

Latencies of two versions are log-normal around medians of a known ratio. Looked at after every
`PAIRS_IN_ROUND` pairs, a comparison ends as soon as its latency passes or fails. Prints Markdown
for `RESULTS.md`; `--plot` draws the picture for `docs/judge.md`.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import sqrt
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.report import machine, print_row, tell
from pilotlight.charts import DOTS_PER_INCH, ChartsMissing
from sidecar.core.judge import judge_comparison
from sidecar.core.odds import PASS_ALPHA
from sidecar.core.strategy import Outputs, Strategy
from sidecar.core.trial import Pair, Race, Trial
from sidecar.core.verdict import Ruling

MARGIN = 0.2
STRATEGY = Strategy(outputs=Outputs.ANY, latency_margin=MARGIN)
PAIRS_IN_ROUND = 10
PAIRS = (20, 50, 100, 200, 500)
RATIOS = (0.9, 1.0, 1.1, 1.15, 1.2, 1.25, 1.3, 1.4, 1.6)
NOISES = (0.05, 0.2, 0.5)
"""Standard deviations of the logarithms of latencies, about their relative ones."""
SLOW, SLOW_NOISE = 1.3, 0.5
KAYENTA_SHARE = 0.25
Z_95, Z_98 = 1.6449, 2.3263
"""Of a one-sided test at 5 %, of a two-sided interval of 98 %."""
INCHES = (13.0, 4.2)

Latencies = NDArray[np.float64]
"""Shape (pairs, 2): the old version's, the new version's; ms."""
Shares = Mapping[int, float]
"""By pairs until then."""


@dataclass(frozen=True)
class Cell:
    ratio: float
    noise: float


@dataclass(frozen=True)
class End:
    ruling: Ruling
    pairs: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000, help="comparisons of each kind")
    parser.add_argument("--plot", type=Path, help="where the picture goes")
    arguments = parser.parse_args()
    cells = [Cell(ratio, noise) for noise, ratio in product(NOISES, RATIOS)]
    found: dict[Cell, list[End]] = {}
    for cell in cells:
        found[cell] = [_compare(_latencies(cell, run)) for run in range(arguments.runs)]
        tell(f"{len(found)} of {len(cells)}: {cell}")
    looks, kayenta = _looks(arguments.runs), _kayenta(arguments.runs)
    print(f"{machine()}; {arguments.runs} comparisons in each cell.\n")
    _print_rates(found)
    _print_looks(looks)
    _print_kayenta(kayenta, found[Cell(SLOW, SLOW_NOISE)])
    _print_cost()
    if arguments.plot:
        _draw(found, looks, kayenta, arguments.plot)


def _latencies(cell: Cell, run: int) -> Latencies:
    chance = np.random.default_rng([round(100 * cell.ratio), round(100 * cell.noise), run])
    return chance.lognormal(0, cell.noise, (PAIRS[-1], 2)) * [1.0, cell.ratio]


def _compare(latencies_ms: Latencies) -> End:
    race = Race()
    for first in range(0, len(latencies_ms), PAIRS_IN_ROUND):
        pairs = [Pair(*each) for each in latencies_ms[first : first + PAIRS_IN_ROUND].tolist()]
        race = race.with_(pairs, margin=MARGIN)
        ruling = _ruling(race)
        if ruling is not Ruling.INCONCLUSIVE:
            return End(ruling, race.pairs)
    return End(Ruling.INCONCLUSIVE, len(latencies_ms))


def _ruling(race: Race) -> Ruling:
    verdict = judge_comparison(Trial(base=1, version=2, began_s=0, races={"": race}), STRATEGY)
    return next(each.ruling for each in verdict.evidence if each.check.startswith("latency"))


def _share(ends: Sequence[End], ruling: Ruling, pairs: int) -> float:
    """Of comparisons that have ended so after so many pairs."""
    if ruling is Ruling.INCONCLUSIVE:
        return 1 - sum(_share(ends, each, pairs) for each in (Ruling.PASS, Ruling.FAIL))
    return sum(end.ruling is ruling and end.pairs <= pairs for end in ends) / len(ends)


def _looks(runs: int) -> Mapping[str, Shares]:
    """How many comparisons of a version at the margin have passed at one look or another."""
    slower = [
        latencies_ms[:, 1] > (1 + MARGIN) * latencies_ms[:, 0]
        for latencies_ms in (_latencies(Cell(1 + MARGIN, 0.2), run) for run in range(runs))
    ]
    counts = np.cumsum(slower, axis=1)[:, PAIRS_IN_ROUND - 1 :: PAIRS_IN_ROUND]
    pairs = np.arange(1, counts.shape[1] + 1) * PAIRS_IN_ROUND
    fixed = counts <= pairs / 2 - Z_95 * np.sqrt(pairs) / 2
    ends = [_compare(_latencies(Cell(1 + MARGIN, 0.2), run)) for run in range(runs)]
    return {
        "fixed size, looked at each time": _shares(pairs, np.maximum.accumulate(fixed, axis=1)),
        "fixed size, looked at once": _shares(pairs, fixed),
        "ours": {int(count): _share(ends, Ruling.PASS, int(count)) for count in pairs},
    }


def _shares(pairs: NDArray[Any], passed: NDArray[np.bool_]) -> Shares:
    return dict(zip(pairs.tolist(), passed.mean(axis=0).tolist(), strict=True))


def _kayenta(runs: int) -> Shares:
    """How many comparisons of a version that is `SLOW` its rule passes, after so many requests."""
    drawn = [_latencies(Cell(SLOW, SLOW_NOISE), run) for run in range(runs)]
    return {
        count: sum(_kayenta_passes(latencies_ms[:count]) for latencies_ms in drawn) / runs
        for count in (5, 10, *PAIRS[:-1])
    }


def _kayenta_passes(latencies_ms: Latencies) -> bool:
    """Of `MannWhitneyClassifier` in Kayenta, where an increase is bad, read in November 2026.

    The 98 % interval of the shift between the two samples must be above a quarter of the shift
    that was found; everything else passes.
    """
    base_ms, version_ms = latencies_ms.T
    count = len(latencies_ms)
    shifts_ms = np.sort(np.subtract.outer(version_ms, base_ms), axis=None)
    rank = round(count**2 / 2 - Z_98 * sqrt(count**2 * (2 * count + 1) / 12))
    lowest_ms = shifts_ms[max(rank, 0)]
    return bool(lowest_ms <= KAYENTA_SHARE * abs(np.median(shifts_ms)))


def _print_rates(found: Mapping[Cell, Sequence[End]]) -> None:
    print("Passed / failed / open, % of comparisons, until so many pairs.\n")
    print_row("noise", "ratio", *(f"{pairs} pairs" for pairs in PAIRS), "median pairs")
    print_row(*["---"] * (len(PAIRS) + 3))
    for cell, ends in found.items():
        rates = [
            " / ".join(f"{100 * _share(ends, ruling, pairs):.1f}" for ruling in Ruling)
            for pairs in PAIRS
        ]
        median = f"{np.median([end.pairs for end in ends]):.0f}"
        print_row(f"{cell.noise:.0%}", f"{cell.ratio:g}", *rates, median)


def _print_looks(looks: Mapping[str, Shares]) -> None:
    print(
        f"\nFalse passes of a version at the margin, %, with a look after every {PAIRS_IN_ROUND} "
        f"pairs; {PASS_ALPHA:.0%} are allowed.\n"
    )
    print_row("test", *(f"{pairs} pairs" for pairs in PAIRS))
    print_row(*["---"] * (len(PAIRS) + 1))
    for name, shares in looks.items():
        print_row(name, *(f"{100 * shares[pairs]:.1f}" for pairs in PAIRS))


def _print_kayenta(kayenta: Shares, ends: Sequence[End]) -> None:
    print(f"\nPasses of a version that is {SLOW:g} x as slow, noise {SLOW_NOISE:.0%}, %.\n")
    print_row("requests", "Kayenta's rule", "ours")
    print_row("---", "---", "---")
    for count, share in kayenta.items():
        print_row(count, f"{100 * share:.1f}", f"{100 * _share(ends, Ruling.PASS, count):.1f}")


def _print_cost() -> None:
    race = Race().with_([Pair(1.0, 1.0)] * 100, margin=MARGIN)
    trial = Trial(base=1, version=2, began_s=0, races={f"batch {n}": race for n in range(8)})
    began_s = perf_counter()
    for _ in range(100):
        judge_comparison(trial, STRATEGY)
    print(f"\nA verdict on 8 shapes takes {(perf_counter() - began_s) * 10:.2f} ms.")


def _draw(
    found: Mapping[Cell, Sequence[End]],
    looks: Mapping[str, Shares],
    kayenta: Shares,
    path: Path,
) -> None:
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 (an extra)
    except ImportError as error:
        raise ChartsMissing("charts need matplotlib: pip install 'pilotlight[charts]'") from error
    figure = Figure(figsize=INCHES, layout="constrained")
    drawers: list[Callable[[Any], None]] = [
        lambda axes: _draw_rates(axes, found),
        lambda axes: _draw_looks(axes, looks),
        lambda axes: _draw_kayenta(axes, kayenta, found[Cell(SLOW, SLOW_NOISE)]),
    ]
    for axes, draw in zip(figure.subplots(1, len(drawers)), drawers, strict=True):
        draw(axes)
        axes.legend(fontsize="small")
        axes.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DOTS_PER_INCH)


def _draw_rates(axes: Any, found: Mapping[Cell, Sequence[End]]) -> None:
    pairs = 200
    for number, noise in enumerate(NOISES):
        for ruling, style in ((Ruling.PASS, "-"), (Ruling.FAIL, "--")):
            shares = [100 * _share(found[Cell(ratio, noise)], ruling, pairs) for ratio in RATIOS]
            label = f"{ruling.value}, noise {noise:.0%}"
            axes.plot(RATIOS, shares, style, color=f"C{number}", marker=".", label=label)
    axes.axvline(1 + MARGIN, color="grey", linewidth=1)
    axes.set_title(f"Verdict within {pairs} pairs")
    axes.set_xlabel(f"new version's latency / old one's (allowed: {1 + MARGIN:g})")
    axes.set_ylabel("comparisons, %")


def _draw_looks(axes: Any, looks: Mapping[str, Shares]) -> None:
    for name, shares in looks.items():
        axes.plot(list(shares), [100 * share for share in shares.values()], label=name)
    axes.axhline(100 * PASS_ALPHA, color="grey", linewidth=1)
    axes.set_title(f"At the margin, a look after each {PAIRS_IN_ROUND} pairs")
    axes.set_xlabel("pairs")
    axes.set_ylabel("passed, which is wrong, %")
    axes.set_ylim(bottom=0)


def _draw_kayenta(axes: Any, kayenta: Shares, ends: Sequence[End]) -> None:
    ours = [100 * _share(ends, Ruling.PASS, count) for count in kayenta]
    axes.plot(list(kayenta), [100 * each for each in kayenta.values()], marker=".", label="Kayenta")
    axes.plot(list(kayenta), ours, marker=".", label="ours, looked at each time")
    axes.axhline(100 * PASS_ALPHA, color="grey", linewidth=1)
    axes.set_title(f"{SLOW:g} x as slow, noise {SLOW_NOISE:.0%}")
    axes.set_xlabel("requests to each version")
    axes.set_ylabel("passed, which is wrong, %")


if __name__ == "__main__":
    main()
