"""One trial as the page shows it: rows of its tables, and pictures."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TypeVar

from markupsafe import Markup

from contract.bytes import format_bytes
from pilotlight.report import plots
from pilotlight.views import Body
from pilotlight.views.words import figure
from sidecar.core.trial import Pair

T = TypeVar("T")

LEAST_READINGS = 2
"""That make a line."""
LEAST_SPAN_BYTES = 64 * 2**20
LEAST_SPAN_SHARE = 0.2
"""Of the declared bytes. An axis of memory spans as much, so that noise looks like noise."""
_NUMBERS = re.compile(r"(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """`alt` says what the drawing shows."""

    svg: Markup
    alt: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Race:
    """One shape. The medians are of the pairs that were kept, and None without any."""

    shape: str
    body: Body
    base_ms: float | None
    version_ms: float | None
    ratio: float | None
    is_over: bool
    picture: Picture | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """`tolerance` is the manifest's limit of the scaled error; None where none holds."""

    name: str
    body: Body
    tolerance: float | None
    picture: Picture | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """`name` is for anchors. `is_alone`: only the new version was asked.

    `reference` is what the outputs were held against, `failed` which requests count as failures.
    """

    name: str
    title: str
    where: str
    reference: str
    failed: str
    is_alone: bool
    trial: Body
    ratios: Picture | None
    races: Sequence[Race]
    outputs: Sequence[Output]
    memory: Picture | None


def section(
    name: str,
    trial: Body,
    *,
    title: str,
    where: str,
    reference: str,
    failed: str,
    margin: float | None,
    must_equal: bool,
    is_alone: bool = False,
) -> Section:
    """`margin` is how much slower the new version may be, as a share; None: it may be slower.

    `must_equal`: outputs must be within the manifest's tolerance.
    """
    races = dict(_ordered(trial["races"]))
    return Section(
        name=name,
        title=title,
        where=where,
        reference=reference,
        failed=failed,
        is_alone=is_alone,
        trial=trial,
        ratios=_ratios(f"{name}-ratios", races, margin),
        races=[
            _race(f"{name}-race-{number}", shape, race, trial, margin)
            for number, (shape, race) in enumerate(races.items())
        ],
        outputs=[
            _output(
                f"{name}-output-{number}", output, body, body["tolerance"] if must_equal else None
            )
            for number, (output, body) in enumerate(_ordered(trial["outputs"]))
        ],
        memory=_memory(f"{name}-memory", trial["memory"]),
    )


def _ordered(named: Mapping[str, T]) -> Iterable[tuple[str, T]]:
    """`batch 8` before `batch 16`."""
    return sorted(
        named.items(),
        key=lambda item: [
            (not part.isdecimal(), int(part) if part.isdecimal() else 0, part)
            for part in _NUMBERS.split(item[0])
        ],
    )


def _pairs(race: Body) -> list[Pair]:
    return [Pair(**pair) for pair in race["latest"]]


def _ratio(pairs: Sequence[Pair]) -> float:
    return median(version_ms / base_ms for base_ms, version_ms in pairs)


def _ratios(name: str, races: Mapping[str, Body], margin: float | None) -> Picture | None:
    timed = {shape: _pairs(race) for shape, race in races.items() if race["latest"]}
    if not timed:
        return None
    medians = ", ".join(f"{shape} {_ratio(pairs):.2f}" for shape, pairs in timed.items())
    allowed = "" if margin is None else f"; up to {1 + margin:g} is allowed"
    return Picture(
        svg=Markup(plots.ratios(name, timed, margin)),  # noqa: S704
        alt=f"Latency of the new version over that of the base; medians: {medians}{allowed}.",
    )


def _race(name: str, shape: str, race: Body, trial: Body, margin: float | None) -> Race:
    pairs = _pairs(race)
    if not pairs:
        return Race(
            shape=shape,
            body=race,
            base_ms=None,
            version_ms=None,
            ratio=None,
            is_over=False,
            picture=None,
        )
    base_ms = median(pair.base_ms for pair in pairs)
    version_ms = median(pair.version_ms for pair in pairs)
    ratio = _ratio(pairs)
    picture = Picture(
        svg=Markup(plots.latencies(name, pairs, trial["base"], trial["version"])),  # noqa: S704
        alt=f"Latencies of {shape}: half of the answers within {figure(base_ms)} ms by version "
        f"{trial['base']}, within {figure(version_ms)} ms by version {trial['version']}.",
    )
    return Race(
        shape=shape,
        body=race,
        base_ms=base_ms,
        version_ms=version_ms,
        ratio=ratio,
        is_over=margin is not None and ratio > 1 + margin,
        picture=picture,
    )


def _output(name: str, output: str, body: Body, tolerance: float | None) -> Output:
    """Nothing is drawn of answers that are all equal."""
    found = body["errors"]
    picture = None
    if any(found):
        comparable = 1 - body["not_comparable"] / body["requests"]
        limit = "" if tolerance is None else f"; the tolerance is {tolerance:.3g}"
        picture = Picture(
            svg=Markup(plots.errors(name, found, comparable, tolerance)),  # noqa: S704
            alt=f"Scaled errors: half of the answers within {median(found):.3g}, "
            f"all that can be compared within {max(found):.3g}{limit}.",
        )
    return Output(name=output, body=body, tolerance=tolerance, picture=picture)


def _memory(name: str, memory: Body | None) -> Picture | None:
    if memory is None or len(memory["readings"]) < LEAST_READINGS:
        return None
    readings = memory["readings"]
    growth = format_bytes(readings[-1]["held_bytes"] - readings[0]["held_bytes"])
    requests = readings[-1]["requests"] - readings[0]["requests"]
    span_bytes = max(LEAST_SPAN_BYTES, LEAST_SPAN_SHARE * memory["declared_bytes"])
    drawn = [(reading["requests"], reading["held_bytes"]) for reading in readings]
    return Picture(
        svg=Markup(plots.memory(name, drawn, span_bytes)),  # noqa: S704
        alt=f"Memory held: {growth} more after {requests} requests.",
    )
