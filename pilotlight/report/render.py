"""The page of one release, from the bodies of the REST API."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from contract.bytes import format_bytes
from pilotlight.report import summary
from pilotlight.report.sections import Section, section
from pilotlight.views import Body
from pilotlight.views.words import clock, error, figure, moment, numbers, seconds, span, spoken
from sidecar.core.release import RESTING
from sidecar.core.strategy import Copies, Outputs
from sidecar.core.verdict import Ruling

MINUTES_FROM_S = 120

_FOLDER = Path(__file__).parent
_PROVEN = {
    "server": "Both versions on canary, a server of its own",
    "shadow": "Both versions under another name on the server that takes clients' requests, which "
    "isolates less than a canary of its own",
}
_WORST_FIRST = (Ruling.FAIL, Ruling.INCONCLUSIVE, Ruling.PASS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """A step on the line of time. `left` and `width` are shares of all of it.

    `took_s` is None for a state in which the release rests.
    """

    step: Body
    since_s: float
    took_s: float | None
    left: float
    width: float


def render(release: Body, gathered: Body, *, made_at: datetime) -> str:
    """The whole page, from `/v1/releases/{id}` and its `/evidence`.

    The same bodies and time give the same text.
    """
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "bytes": format_bytes,
        "clock": clock,
        "error": error,
        "figure": figure,
        "numbers": numbers,
        "percent": lambda share: f"{figure(100 * share)} %",
        "span": lambda value_s: seconds(value_s) if value_s < MINUTES_FROM_S else span(value_s),
        "tally": tally,
        "spoken": spoken,
        "worst_first": worst_first,
    }
    timeline = list(stretches(release, made_at))
    return environment.get_template("page.html.j2").render(
        release=release,
        mark=summary.mark(release),
        headline=summary.headline(release),
        is_rejected=summary.is_rejected(release),
        commands=list(summary.commands(release)),
        absences=list(summary.absences(release, gathered)),
        sections=list(_sections(release, gathered)),
        stretches=timeline,
        took_s=sum(each.took_s or 0.0 for each in timeline if each.step["state"] not in RESTING),
        made_at=made_at.isoformat(),
    )


def stretches(release: Body, now: datetime) -> Iterator[Stretch]:
    """A release that goes on lasts until now; one that rests takes no time any more."""
    steps = release["steps"]
    begun = moment(steps[0]["at"])
    since_s = [max(0.0, (moment(step["at"]) - begun).total_seconds()) for step in steps]
    took_s = [step["seconds"] for step in steps]
    if release["active"]:
        took_s[-1] = max(0.0, (now - moment(steps[-1]["at"])).total_seconds())
    whole_s = since_s[-1] + (took_s[-1] or 0.0) or 1.0
    for step, since, took in zip(steps, since_s, took_s, strict=True):
        yield Stretch(
            step=step,
            since_s=since,
            took_s=took,
            left=since / whole_s,
            width=(took or 0.0) / whole_s,
        )


def worst_first(evidence: Sequence[Body]) -> list[Body]:
    return sorted(evidence, key=lambda each: _WORST_FIRST.index(each["ruling"]))


def tally(evidence: Sequence[Body]) -> str:
    """`1 fail, 4 pass`."""
    counts = Counter(each["ruling"] for each in evidence)
    return ", ".join(f"{counts[ruling]} {ruling}" for ruling in _WORST_FIRST if counts[ruling])


def _sections(release: Body, gathered: Body) -> Iterator[Section]:
    margin = release["strategy"]["latency_margin"]
    if gathered["compare"]:
        yield section(
            "compare",
            gathered["compare"],
            title="Compared before any request of a client",
            where=_PROVEN[release["isolation"]],
            reference="the base's answers",
            failed="that the base answered",
            margin=margin,
            must_equal=release["strategy"]["outputs"] == Outputs.EQUAL,
        )
    if gathered["guard"]:
        yield section(
            "guard",
            gathered["guard"],
            title="Watched while it served",
            where="On the server that takes clients' requests",
            reference="the golden samples of the new version",
            failed="of our requests while it served",
            margin=margin,
            must_equal=True,
            is_alone=release["strategy"]["copies"] == Copies.ONE_AT_A_TIME,
        )
