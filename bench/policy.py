"""How much waiting each policy leaves, on recorded demand: `python -m bench.policy`.

Prints Markdown for `RESULTS.md`. `bench/traces` holds two traces; `--traces` names a folder with
others that may not be passed on. A share of memory is of the bytes of all models.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from statistics import geometric_mean

from bench.report import print_row
from pilotlight.commands.replay import budget_of
from pilotlight.traces import read_models, read_trace
from sidecar.core.ranking import Ranking
from sidecar.core.replay import ReplayResult, offline, replay

HERE = Path(__file__).resolve().parent / "traces"
BUDGETS = (5, 10, 20, 40)
OFFLINE, BEST = "offline", "value + prewarm"
POLICIES: dict[str, Callable[..., ReplayResult]] = {
    "LRU": partial(replay, ranking=Ranking.LRU),
    "LFU": partial(replay, ranking=Ranking.LFU),
    "GDSF": partial(replay, ranking=Ranking.GDSF),
    "value-lite": partial(replay, ranking=Ranking.VALUE_LITE),
    "value": partial(replay, ranking=Ranking.VALUE),
    BEST: partial(replay, ranking=Ranking.VALUE, prewarm=True),
    OFFLINE: offline,
}


@dataclass(frozen=True)
class Cell:
    trace: str
    percent: int


@dataclass(frozen=True)
class Goal:
    """`study_bound` is the study's own offline bound, x LRU: it had one more schedule than ours."""

    lru: float
    bound: float
    study_bound: float


HOPELESS = {Cell("azf500_8h", 5)}
"""Dozens of loads at once on average, under every policy."""
GOALS = {
    Cell("gentd26_base", 10): Goal(0.90, 1.52, 0.60),
    Cell("gentd26_base", 20): Goal(0.86, 1.50, 0.58),
    Cell("servegen_large", 10): Goal(0.65, 1.40, 0.46),
    Cell("servegen_large", 20): Goal(0.57, 1.55, 0.37),
    Cell("azf500_8h", 20): Goal(0.62, 1.33, 0.46),
    Cell("azf500_8h", 40): Goal(0.36, 1.20, 0.30),
}
MEAN_GOAL = Goal(0.76, 1.45, 0.0)
WORST_GOAL = 1.02
Results = Mapping[Cell, Mapping[str, ReplayResult]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--traces", type=Path, help="folder with further traces")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="traces to play; otherwise all")
    parser.add_argument("--jobs", type=int, default=1, help="replays side by side")
    arguments = parser.parse_args()
    folders = dict(_found(arguments.traces))
    names = arguments.only or sorted(folders)
    missing = set(names) - folders.keys()
    if missing:
        parser.error(f"no such trace: {', '.join(sorted(missing))}; known: {', '.join(folders)}")
    cells = [
        cell
        for name, percent in product(names, BUDGETS)
        if (cell := Cell(name, percent)) not in HOPELESS
    ]
    results: dict[Cell, dict[str, ReplayResult]] = {cell: {} for cell in cells}
    with ProcessPoolExecutor(arguments.jobs) as pool:
        waiting = {
            (cell, policy): pool.submit(_play, folders[cell.trace], cell, policy)
            for cell, policy in product(cells, POLICIES)
        }
        for number, ((cell, policy), result) in enumerate(waiting.items(), start=1):
            results[cell][policy] = result.result()
            print(f"{number} of {len(waiting)}: {cell} {policy}", file=sys.stderr, flush=True)
    _print_waits(results)
    _print_details(results)
    _print_goals(results)


def _found(further: Path | None) -> Iterator[tuple[str, Path]]:
    for folder in filter(None, (HERE, further)):
        for models in sorted(folder.glob("*.models.csv")):
            yield models.name.removesuffix(".models.csv"), folder


def _play(folder: Path, cell: Cell, policy: str) -> ReplayResult:
    models = read_models(folder / f"{cell.trace}.models.csv")
    trace = read_trace(folder / f"{cell.trace}.csv.gz", models)
    return POLICIES[policy](trace, models, budget_of(f"{cell.percent}%", models))


def _print_waits(results: Results) -> None:
    print("Total wait relative to LRU; lower is better.\n")
    print_row("trace", "memory", "LRU mean wait", *list(POLICIES)[1:])
    print_row(*["---"] * (len(POLICIES) + 2))
    for cell, found in results.items():
        lru = found["LRU"]
        others = [f"{_x(found[policy], lru):.3f}" for policy in list(POLICIES)[1:]]
        print_row(cell.trace, f"{cell.percent} %", f"{lru.mean_wait_s:.3f} s", *others)
    for reference in ("LRU", OFFLINE):
        means = [f"{_mean(results, policy, reference):.3f}" for policy in list(POLICIES)[1:]]
        print_row(f"geometric mean at 10 and 20 %, x {reference}", "", "", *means)


def _print_details(results: Results) -> None:
    print("\nMean wait, p99, cold requests, TB loaded, loads within a minute of their eviction.\n")
    shown = ("LRU", "GDSF", BEST, OFFLINE)
    print_row("trace", "memory", *shown, "demand loads at once", "prewarms used", "shadow price")
    print_row(*["---"] * (len(shown) + 5))
    for cell, found in results.items():
        best = found[BEST]
        price = "-" if best.shadow_price is None else f"{best.shadow_price:.3g} s per GiB-h"
        print_row(
            cell.trace,
            f"{cell.percent} %",
            *(_detail(found[policy]) for policy in shown),
            f"{best.load_concurrency:.2f}",
            f"{best.prewarms_used} of {best.prewarms}",
            price,
        )


def _print_goals(results: Results) -> None:
    print(
        "\nGoals of the design, for value + prewarm. The offline bound is the lower one of ours "
        "and of the study's.\n"
    )
    print_row("goal", "x LRU", "at most", "x offline", "at most", "reached")
    print_row(*["---"] * 6)
    for cell, goal in GOALS.items():
        if cell not in results:
            continue
        found = results[cell]
        lru = _x(found[BEST], found["LRU"])
        bound = lru / min(goal.study_bound, _x(found[OFFLINE], found["LRU"]))
        _print_goal(f"{cell.trace} at {cell.percent} %", lru, bound, goal)
    mean = _mean(results, BEST, "LRU"), _mean(results, BEST, OFFLINE)
    _print_goal("geometric mean at 10 and 20 %", *mean, MEAN_GOAL)
    worst = max(_x(found[BEST], found["LRU"]) for found in results.values())
    print_row("worst of all", f"{worst:.3f}", WORST_GOAL, "", "", _yes(worst <= WORST_GOAL))


def _print_goal(name: str, lru: float, bound: float, goal: Goal) -> None:
    reached = lru <= goal.lru and bound <= goal.bound
    print_row(name, f"{lru:.3f}", goal.lru, f"{bound:.3f}", goal.bound, _yes(reached))


def _detail(result: ReplayResult) -> str:
    return (
        f"{result.mean_wait_s:.3f} s, {result.wait_percentile_s(99):.1f} s, "
        f"{100 * result.cold_share:.1f} %, {result.loaded_bytes / 1e12:.1f}, "
        f"{100 * result.quick_share:.0f} %"
    )


def _x(result: ReplayResult, reference: ReplayResult) -> float:
    return result.wait_s / reference.wait_s


def _mean(results: Results, policy: str, reference: str) -> float:
    return geometric_mean(
        _x(found[policy], found[reference])
        for cell, found in results.items()
        if cell.percent in {10, 20}
    )


def _yes(reached: bool) -> str:  # noqa: FBT001 (a word for it)
    return "yes" if reached else "NO"


if __name__ == "__main__":
    main()
