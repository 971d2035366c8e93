"""Releases: each step as it comes, how one stands, and all that a model ever had."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pilotlight.views import Body
from pilotlight.views.listing import LABEL, MAY_LACK, NAME, WORDS, Listing
from pilotlight.views.words import brief, clock, counted, moment, seconds, span, spoken
from sidecar.core.release import RESTING, ReleaseState
from sidecar.core.verdict import Ruling

BAR_WIDTH = 40
STYLES = {
    ReleaseState.DONE: "green",
    ReleaseState.AWAITING: "yellow",
    ReleaseState.ROLLING_BACK: "red",
    ReleaseState.ROLLED_BACK: "red",
    ReleaseState.REFUSED: "red",
}
RULING_STYLES = {Ruling.PASS: "green", Ruling.FAIL: "red", Ruling.INCONCLUSIVE: "yellow"}
CSV_COLUMNS = (
    "release",
    "model",
    "base",
    "version",
    "requested_by",
    "state",
    "at",
    "seconds",
    "asked_by",
    "note",
    "failed",
    "inconclusive",
)


def step_view(release: Body, step: Body, *, verbose: bool = False) -> RenderableType:
    """When it came, counted from the release's begin, and each check that did not pass.

    `verbose`: those that passed, too.
    """
    since_s = (moment(step["at"]) - moment(release["steps"][0]["at"])).total_seconds()
    state = ReleaseState(step["state"])
    line = Text.assemble(
        (f"{since_s:8.1f} s  ", "dim"), (f"{state:<15} ", STYLES.get(state, "cyan")), step["note"]
    )
    shown = [each for each in step["evidence"] if verbose or each["ruling"] != Ruling.PASS]
    return Group(line, *(_check(each, besides=step["note"]) for each in shown))


def passed_line(release: Body) -> Text | None:
    """How many checks passed in all of its steps, and where to read them; None without any."""
    checks = (each for step in release["steps"] for each in step["evidence"])
    passed = sum(each["ruling"] == Ruling.PASS for each in checks)
    told = f"{counted(passed, 'check')} passed (pilotlight report {release['model']})"
    return Text(told, "dim") if passed else None


def progress_view(release: Body) -> RenderableType:
    """What it is at, and a bar of how far; one that runs where that is not known.

    A release that cannot go on says why instead.
    """
    if release["waits_for"] is not None:
        return Text.assemble(f"{doing(release)}, ", stall_line(release))
    soak = release["soak"]
    total, completed = (1.0, soak["progress"]) if soak else (None, 0.0)
    line = Table.grid(padding=(0, 1))
    line.add_row(doing(release), ProgressBar(total, completed, width=BAR_WIDTH))
    return line


def stall_line(release: Body) -> Text:
    """What it cannot go on without."""
    return Text(f"waits for {release['waits_for']}", "yellow")


def doing(release: Body) -> str:
    """In one short line: `soaking, 12 s of 60 s`."""
    share = f" {release['share']} %" if release["share"] is not None else ""
    soak = release["soak"]
    watched = f", {span(soak['watched_s'])} of {span(soak['soak_s'])}" if soak else ""
    return f"{release['state']}{share}{watched}"


def may_say(release: Body) -> list[str]:
    """What a person may say now, without whom it does not go on; none while it does."""
    if release["paused_by"] is not None:
        return ["resume", "abort"]
    return ["promote", "abort"] if release["state"] == ReleaseState.AWAITING else []


def end_line(release: Body) -> Text:
    """How it ended, or whom it waits for and what to type."""
    which = f"version {release['version']} of {release['model']}"
    took = f"after {seconds(release['seconds'])}"
    if verbs := may_say(release):
        commands = " or ".join(f"`pilotlight {verb} {release['model']}`" for verb in verbs)
        who = f"paused by {release['paused_by']}" if release["paused_by"] else "waits for a person"
        return Text.assemble((who, "yellow"), f": {which}; {commands}")
    if release["state"] == ReleaseState.DONE:
        return Text.assemble(("done", "green"), f": {which} serves, {took}")
    return Text.assemble(
        (spoken(release["state"]), "red"), f": {which}, {took}: {release['reason']}"
    )


def release_table(releases: Sequence[Body]) -> RenderableType:
    """One line each, in the given order."""
    if not releases:
        return Text("no release yet")
    table = Listing(
        {"begun": LABEL, "by": MAY_LACK, "model": NAME, "version": LABEL}
        | {"state": LABEL, "id": MAY_LACK, "why": WORDS}
    )
    for release in releases:
        state = ReleaseState(release["state"])
        table.add_row(
            clock(release["steps"][0]["at"]),
            escape(release["actor"]),
            escape(release["model"]),
            _way(release),
            Text(doing(release), STYLES.get(state, "cyan" if release["active"] else "")),
            escape(release["id"]),
            Text(brief(release["reason"])),
        )
    return table


def history_view(releases: Sequence[Body]) -> RenderableType:
    """A paragraph for each release, in the given order."""
    paragraphs = [part for each in releases for part in (_release(each), Text(""))]
    return Group(*paragraphs[:-1]) if paragraphs else Text("no release yet")


def history_rows(releases: Sequence[Body]) -> Iterator[dict[str, object]]:
    """A row for each step, by `CSV_COLUMNS`."""
    for release in releases:
        for step in release["steps"]:
            yield {
                "release": release["id"],
                "model": release["model"],
                "base": release["base"],
                "version": release["version"],
                "requested_by": release["actor"],
                "state": step["state"],
                "at": step["at"],
                "seconds": step["seconds"],
                "asked_by": step["actor"],
                "note": step["note"],
                "failed": _checks(step, Ruling.FAIL),
                "inconclusive": _checks(step, Ruling.INCONCLUSIVE),
            }


def _release(release: Body) -> RenderableType:
    state = ReleaseState(release["state"])
    lines = [
        Text.assemble(
            (f"{release['id']}  ", "bold"),
            f"version {_way(release)}, asked for by {release['actor']}  ",
            (spoken(state), STYLES.get(state, "cyan")),
        ),
        Text(f"  {clock(release['steps'][0]['at'])}  {release['reason']}"),
        *(
            _check(each)
            for step in release["steps"]
            for each in step["evidence"]
            if each["ruling"] != Ruling.PASS
        ),
        Text(f"  {_took(release)}", "dim"),
    ]
    return Group(*lines)


def _way(release: Body) -> str:
    version, base = release["version"], release["base"]
    return f"{base} -> {version}" if base is not None else f"{version}, its first"


def _took(release: Body) -> str:
    """`canary_loading 1.2 s, comparing 12 s; 14 s in all`."""
    by_state: defaultdict[str, float] = defaultdict(float)
    for step in release["steps"]:
        if step["state"] not in RESTING and step["seconds"] is not None:
            by_state[step["state"]] += step["seconds"]
    each = ", ".join(f"{state} {seconds(took_s)}" for state, took_s in by_state.items())
    so_far = " so far" if release["active"] else ""
    return f"{each}; {seconds(release['seconds'])} in all{so_far}" if each else "just begun"


def _check(evidence: Body, *, besides: str = "") -> Text:
    """Its sentence, unless `besides` has that already."""
    subject = evidence["check"].partition(": ")[2]
    found = evidence["note"].removeprefix(f"{subject}: ")
    return Text.assemble(
        f"{'':12}",
        (f"{evidence['ruling']:<13} ", RULING_STYLES[Ruling(evidence["ruling"])]),
        evidence["check"],
        "" if found in besides else f"  {found}",
    )


def _checks(step: Body, ruling: Ruling) -> str:
    return "; ".join(each["check"] for each in step["evidence"] if each["ruling"] == ruling)
