"""`pilotlight replay`: what a policy would have done for recorded requests."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.bar import Bar
from rich.console import Console, Group
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Shown
from rich.table import Table

from contract.bytes import format_bytes, parse_bytes
from pilotlight.charts import ChartsMissing, draw_waits
from pilotlight.commands.output import CommandFailed, Output
from pilotlight.commands.running import command
from pilotlight.traces import BadTrace, read_models, read_trace
from sidecar.core.ranking import Ranking
from sidecar.core.replay import Progress, ReplayedModel, ReplayResult, Request, offline, replay

OFFLINE = "offline bound"
BAR_WIDTH = 16
OVERLOADED = 2.0
"""Demand loads in flight on average, from which no policy helps (POLICY.md section 1)."""


class Replayed(StrEnum):
    """Rankings; the last one also loads ahead."""

    LRU = "lru"
    LFU = "lfu"
    GDSF = "gdsf"
    VALUE_LITE = "value-lite"
    VALUE = "value"
    PREWARM = "value+prewarm"

    @property
    def ranking(self) -> Ranking:
        return Ranking(self.value.removesuffix("+prewarm"))


@command(
    "pilotlight replay trace.csv.gz --models models.csv --budget 12GiB",
    "pilotlight replay trace.csv --models models.csv --budget 20% --policy lru --policy value",
    extra="charts",
)
def replay_command(
    out: Output,
    trace: Annotated[Path, typer.Argument(help="timestamp_s,model_id; .csv or .csv.gz.")],
    *,
    models: Annotated[Path, typer.Option(help="model_id,size_bytes,load_cold_s as CSV.")],
    budget: Annotated[str, typer.Option(help="12GiB, or 20% of all models together.")],
    policy: Annotated[
        list[Replayed] | None, typer.Option(help="May be given more than once.")
    ] = None,
    price: Annotated[
        float,
        typer.Option(help="Cold-start seconds per GiB-hour; idle models leave. 0: never.", min=0),
    ] = 0.0,
    png: Annotated[Path | None, typer.Option(help="Where to draw the comparison.")] = None,
) -> None:
    """Play recorded requests against a memory budget and compare policies."""
    policies = policy or [Replayed.VALUE, Replayed.PREWARM]
    try:
        known = read_models(models)
        requests = read_trace(trace, known)
        budget_bytes = budget_of(budget, known)
        results = _compare(
            requests, known, budget_bytes, policies, price=price, console=out.console
        )
    except (BadTrace, ValueError) as error:
        raise CommandFailed(str(error)) from error
    played = f"{len(requests)} requests for {len(known)} models within {format_bytes(budget_bytes)}"
    out.show(
        {
            "requests": len(requests),
            "models": len(known),
            "budget_bytes": budget_bytes,
            "policies": {name: _body(result) for name, result in results.items()},
        },
        Group(played, _table(results), *_warning(results)),
    )
    if png:
        try:
            draw_waits(results, f"{trace.name} within {format_bytes(budget_bytes)}", png)
        except (ChartsMissing, OSError, ValueError) as error:
            raise CommandFailed(str(error)) from error


def budget_of(text: str, models: Mapping[str, ReplayedModel]) -> int:
    """Bytes. A share of all models is at least the largest of them.

    Raises:
        ValueError: the text is neither a size nor a percentage.
    """
    if not text.endswith("%"):
        return parse_bytes(text)
    sizes = [model.held_bytes for model in models.values()]
    try:
        share_bytes = int(float(text.removesuffix("%")) / 100 * sum(sizes))
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{text!r} is no budget; write for example '12GiB' or '20%'") from error
    return max(share_bytes, *sizes)


def _compare(
    trace: Sequence[Request],
    models: Mapping[str, ReplayedModel],
    budget_bytes: int,
    policies: Sequence[Replayed],
    console: Console,
    *,
    price: float,
) -> dict[str, ReplayResult]:
    """Results by name: LRU first, then the policies that were asked for, then the bound."""

    def play(policy: Replayed, progress: Progress) -> ReplayResult:
        return replay(
            trace,
            models,
            budget_bytes,
            ranking=policy.ranking,
            prewarm=policy is Replayed.PREWARM,
            price=price,
            progress=progress,
        )

    plays: dict[str, Callable[[Progress], ReplayResult]] = {
        policy.value: partial(play, policy) for policy in [Replayed.LRU, *policies]
    }
    plays[OFFLINE] = partial(offline, trace, models, budget_bytes)
    results = {}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Shown(*columns, TimeRemainingColumn(), console=console, transient=True) as shown:
        for name, run in plays.items():
            task = shown.add_task(name, total=len(trace))
            results[name] = run(partial(_tell, shown, task))
            shown.remove_task(task)
    return results


def _tell(shown: Shown, task: TaskID, done: int) -> None:
    shown.update(task, completed=done)


def _body(result: ReplayResult) -> dict[str, float]:
    return {
        "mean_wait_s": result.mean_wait_s,
        "p99_wait_s": result.wait_percentile_s(99),
        "cold_share": result.cold_share,
        "loads": result.loads,
        "held_gib_h": result.held_gib_h,
        "load_concurrency": result.load_concurrency,
    }


def _warning(results: Mapping[str, ReplayResult]) -> Iterator[str]:
    in_flight = min(result.load_concurrency for result in results.values())
    if in_flight > OVERLOADED:
        yield (
            f"{in_flight:.1f} loads in flight on average at best: the budget is too small, "
            "whatever the policy"
        )


def _table(results: Mapping[str, ReplayResult]) -> Table:
    lru_s = results[Replayed.LRU].wait_s
    bound_s = results[OFFLINE].wait_s
    longest_s = max(result.mean_wait_s for result in results.values())
    table = Table(box=None, pad_edge=False)
    table.add_column("policy", no_wrap=True)
    for column in ("mean wait", "p99", "cold", "loads", "GiB h", "x LRU", "x bound"):
        table.add_column(column, justify="right")
    table.add_column()
    for name, result in results.items():
        table.add_row(
            name,
            f"{result.mean_wait_s:.3f} s",
            f"{result.wait_percentile_s(99):.1f} s",
            f"{100 * result.cold_share:.1f} %",
            str(result.loads),
            f"{result.held_gib_h:.0f}",
            _ratio(result.wait_s, lru_s),
            _ratio(result.wait_s, bound_s),
            Bar(longest_s, 0, result.mean_wait_s, width=BAR_WIDTH),
        )
    return table


def _ratio(wait_s: float, reference_s: float) -> str:
    return f"{wait_s / reference_s:.2f}" if reference_s else "-"
