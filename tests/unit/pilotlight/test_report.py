"""The report of a release as a person gets it: read back from its HTML."""

import asyncio
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import structlog
import typer
from typer.testing import CliRunner

from pilotlight.commands.report import report_command
from pilotlight.report.render import render
from sidecar.api.release_schemas import GatheredBody, Isolation, ReleaseBody
from sidecar.core.agreement import Agreement, Finding
from sidecar.core.fleet import CheckKind
from sidecar.core.release import Asked, Release, ReleaseState, admit
from sidecar.core.strategy import Approval, Copies, Outputs, Strategy
from sidecar.core.trial import Memory, Pair, Race, Served, Trial
from sidecar.core.verdict import Evidence, Ruling
from tests.builders import publish
from tests.unit.sidecar.test_api_served import Served as ServedSidecar

MIB = 2**20
TOLERANCES = {"off": 1e-3}
S = ReleaseState
NOW = datetime(2026, 1, 2, 12, 1, 40, tzinfo=UTC)
BEGUN_S = NOW.timestamp() - 100
ROAD = (S.CANARY_LOADING, S.VERIFYING, S.CANARY_WARMING, S.MEASURING, S.COMPARING)
HOSTILE = (
    "</svg><script>alert('1')</script>\" onload=\"x\x1b\n$\\frac{$ {{ 7 * 7 }} &amp; " + "x" * 99
)
VOID = {"meta", "br"}


@dataclass
class Page(HTMLParser):
    """What is on a page, and whether its tags are in order."""

    lines: list[str] = field(default_factory=lambda: [""])
    pictures: list[str] = field(default_factory=list)
    tags: set[str] = field(default_factory=set)
    ids: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    open: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    @property
    def text(self) -> str:
        return "\n".join(line for each in self.lines if (line := " ".join(each.split())))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.add(tag)
        if given.get("role") == "img":
            self.pictures.append(given["aria-label"] or "")
        self.ids += [given["id"] or ""] if "id" in given else []
        self.links += [
            value or ""
            for name, value in attrs
            if name in {"src", "href", "xlink:href"} or name.startswith("on")
        ]
        if tag in {"p", "tr", "h1", "h2", "h3", "li", "caption", "figcaption", "dt"}:
            self.lines.append("")
        self.lines[-1] += " "
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"style", "svg", "title"} & set(self.open):
            self.lines[-1] += data


def read(html: str) -> Page:
    page = Page()
    page.feed(html)
    assert page.open == []
    return page


def race(shape_ms: float = 10.0, ratio: float = 1.0, pairs: int = 20) -> Race:
    each = [Pair(shape_ms + n / 10, (shape_ms + n / 10) * ratio) for n in range(pairs)]
    return Race().with_(each, margin=0.2)


def agreement(errors: Sequence[float], limit: float = 1e-3) -> Agreement:
    found = Agreement()
    for error in errors:
        reason = f"scaled error {error:.2e}" if error > limit else None
        found = found.with_(
            Finding(output="y", scaled_error=error, reason=reason, rows=1, same_top=1)
        )
    return found


def memory(*held_mib: int) -> Memory:
    found = Memory(declared_bytes=100 * MIB)
    for number, each in enumerate(held_mib):
        found = found.with_(float(number), each * MIB, 10 * number)
    return found


def trial(**changes: Any) -> Trial:
    said: dict[str, Any] = {
        "races": {"batch 16": race(20.0, 1.5), "batch 8": race(), "batch 32": Race()},
        "outputs": {"y": agreement([0.0, 1e-6, 1e-5])},
        "requests": 3,
        "memory": memory(300, 304, 310),
        **changes,
    }
    return Trial(base=1, version=2, began_s=BEGUN_S + 4, rounds=2, watched_s=2.5, **said)


def admitted(base: int | None = 1, model: str = "m", **how: Any) -> Release:
    return admit(
        release_id=f"{model}.2.1f",
        model=model,
        version=2,
        base=base,
        actor="alice",
        at_s=BEGUN_S,
        strategy=Strategy(**how),
    )


def after(found: Release, *states: ReleaseState, note: str = "because", **changes: Any) -> Release:
    """A second in each state."""
    for number, state in enumerate(states, len(found.steps)):
        found = found.entered(state, at_s=BEGUN_S + number, note=note)
    return replace(found, **changes)


def page(
    release: Release,
    trials: Mapping[CheckKind, Trial] | None = None,
    *,
    isolation: Isolation = Isolation.SERVER,
    waits_for: str | None = None,
) -> Page:
    return read(html(release, trials, isolation=isolation, waits_for=waits_for))


def html(
    release: Release,
    trials: Mapping[CheckKind, Trial] | None = None,
    *,
    isolation: Isolation = Isolation.SERVER,
    waits_for: str | None = None,
) -> str:
    guard = (trials or {}).get(CheckKind.GUARD)
    body = ReleaseBody.of(
        release, guard=guard, soak_s=60.0, isolation=isolation, waits_for=waits_for
    )
    gathered = GatheredBody.of(release, trials or {}, tolerances=TOLERANCES)
    return render(body.model_dump(mode="json"), gathered.model_dump(mode="json"), made_at=NOW)


def test_a_release_that_was_refused_at_once_says_what_is_not_known() -> None:
    told = page(after(admitted(), S.REFUSED, note="output y is FP32[3], not FP32[4]"))

    assert told.text.startswith(
        "Release m.2.1f\n"
        "m: version 1 → 2\n"
        "✗ Version 2 was refused; version 1 went on serving\n"
        "output y is FP32[3], not FP32[4]\n"
        "Asked for by alice on 2026-01-02 12:00:00Z; took 1 s. "
        "This page shows what was known on 2026-01-02 12:01:40Z.\n"
        "pilotlight release m 2 tries again, unless another release has followed\n"
        "Checks\n"
        "? Never compared: the release came as far as admitted.\n"
        "? Never watched under clients' requests: the release came as far as admitted.\n"
        "No check with figures is on record.\n"
        "Steps\n"
    )
    assert told.pictures == []


@pytest.mark.parametrize(
    ("found", "absent"),
    [
        (
            after(admitted(base=None), *ROAD[:3], S.PROMOTING, S.FINISHING, S.DONE),
            [
                "? Not compared: no version of this model had served before.",
                "? Not watched: there was no version to fall back on.",
            ],
        ),
        (
            after(
                admitted(outputs=Outputs.ANY, latency_margin=None),
                *ROAD[:4],
                S.PROMOTING,
                S.SOAKING,
            ),
            [
                "? Not compared: the strategy leaves outputs and latencies alone.",
                "? Watched, but nothing of it is on record.",
            ],
        ),
        (
            after(admitted(), *ROAD),
            [
                "? Compared, but nothing of it is on record.",
                "? Not watched under clients' requests yet: the release is at comparing.",
            ],
        ),
    ],
)
def test_missing_evidence_is_told_with_its_reason(found: Release, absent: list[str]) -> None:
    lines = page(found).text.splitlines()

    assert lines[lines.index("Checks") + 1 :][:2] == absent


def test_who_waits_for_a_person_says_what_to_type() -> None:
    awaiting = after(admitted(approval=Approval.MANUAL), *ROAD, S.AWAITING)
    paused = replace(after(admitted(), *ROAD), paused_by="bob")

    assert page(awaiting).text.splitlines()[2:7] == [
        "? Version 2 waits for a person to decide; version 1 serves",
        "because",
        "Asked for by alice on 2026-01-02 12:00:00Z; took 100 s so far. "
        "This page shows what was known on 2026-01-02 12:01:40Z.",
        "pilotlight promote m.2.1f gives version 2 the requests",
        "pilotlight abort m.2.1f ends the release without version 2",
    ]
    told = page(paused).text
    assert "? Version 2 is on its way, comparing, paused by bob\n" in told
    assert "pilotlight resume m.2.1f lets the release go on\n" in told


def test_a_release_that_is_done_can_be_rolled_back_and_a_rejected_one_is_not_tried_again() -> None:
    done = after(admitted(), *ROAD, S.PROMOTING, S.SOAKING, S.FINISHING, S.DONE)
    rejected = after(admitted(), *ROAD, S.REFUSED, rejected=True)

    assert "✓ Version 2 was released in place of version 1" in page(done).text
    assert "pilotlight rollback m.2.1f brings version 1 back" in page(done).text
    assert "tries again" not in page(rejected).text
    assert "pilotlight unreject m 2 lets version 2 be released again" in page(rejected).text
    first = after(admitted(base=None), S.REFUSED, rejected=True)
    assert "pilotlight release m 2 tries again" in page(first).text


def test_checks_come_with_their_numbers_the_latest_and_the_worst_first() -> None:
    found = after(admitted(), *ROAD).entered(
        S.REFUSED,
        at_s=BEGUN_S + 6,
        note="too slow",
        evidence=(
            Evidence(check="answers", ruling=Ruling.PASS, note="all", numbers={"requests": 9}),
            Evidence(
                check="latency: batch 8",
                ruling=Ruling.FAIL,
                note="slower",
                numbers={"slower_share": 0.75, "base_median_ms": 10.0},
            ),
        ),
    )
    lines = page(found).text.splitlines()

    assert lines[lines.index("On the way to refused, 2026-01-02 12:00:06Z: 1 fail, 1 pass") :][
        :6
    ] == [
        "On the way to refused, 2026-01-02 12:00:06Z: 1 fail, 1 pass",
        "Ruling Check Finding",
        "✗ fail latency: batch 8 slower",
        "slower 75 %, base median 10 ms",
        "✓ pass answers all",
        "requests 9",
    ]


def test_latencies_are_told_for_each_shape_smaller_shapes_first() -> None:
    told = page(after(admitted(), *ROAD, S.REFUSED), {CheckKind.COMPARE: trial()})

    assert "batch 8 20 10.9 ms 10.9 ms 1.00 0 0\n" in told.text
    assert "batch 16 20 20.9 ms 31.4 ms ✗ 1.50 20 0\nbatch 32 0 - - - 0 0\n" in told.text
    assert told.pictures[:3] == [
        "Latency of the new version over that of the base; medians: batch 8 1.00, batch 16 1.50; "
        "up to 1.2 is allowed.",
        "Latencies of batch 8: half of the answers within 10.9 ms by version 1, within 10.9 ms by "
        "version 2.",
        "Latencies of batch 16: half of the answers within 20.9 ms by version 1, within 31.4 ms by "
        "version 2.",
    ]


def test_outputs_are_told_with_what_cannot_be_compared() -> None:
    outputs = {
        "equal": agreement([0.0, 0.0]),
        "off": agreement([1e-6, 1e-2, float("inf")]),
        "nan": agreement([float("inf")]),
    }
    found = {CheckKind.COMPARE: trial(outputs=outputs, races={}, memory=None)}
    told = page(after(admitted(outputs=Outputs.EQUAL), *ROAD, S.REFUSED), found)

    assert "equal 2 2 0 0 100 % of 2 -\n" in told.text
    assert "off 3 1 ✗ 1 ∞ 100 % of 3 scaled error inf\n" in told.text
    assert "equal: the latest 2 answers that can be compared are equal\n" in told.text
    assert "nan: no answer can be compared\n" in told.text
    assert "off, the latest 2 errors; right of this line beyond the tolerance, 0.001" in told.text
    assert told.pictures == [
        "Scaled errors: half of the answers within 0.005, all that can be compared within 0.01; "
        "the tolerance is 0.001."
    ]
    assert "? No pair of answers was timed." in told.text
    assert "Not measured on this machine." in told.text


def test_no_tolerance_is_drawn_where_outputs_need_only_be_alike() -> None:
    outputs = {CheckKind.COMPARE: trial(outputs={"off": agreement([1e-2])}, races={}, memory=None)}

    told = page(after(admitted(), *ROAD), outputs)

    assert told.pictures == [
        "Scaled errors: half of the answers within 0.01, all that can be compared within 0.01."
    ]
    assert "beyond the tolerance" not in told.text


def test_failures_and_clients_requests_are_counted_for_each_version() -> None:
    guard = trial(
        failures=2,
        failure="out of memory",
        served_before={1: Served(succeeded=90, failed=1)},
        served={1: Served(succeeded=100, failed=1), 2: Served(succeeded=300, failed=100)},
    )
    rolled_back = after(
        admitted(), *ROAD, S.PROMOTING, S.SOAKING, S.ROLLING_BACK, S.ROLLED_BACK, rejected=True
    )
    told = page(rolled_back, {CheckKind.GUARD: guard}).text

    assert (
        "✗ Version 2 failed 2 of our requests while it served, at last with: out of memory\n"
        in told
    )
    assert "1 10 0 0 %\n2 300 100 25 %\n" in told


def test_memory_is_drawn_once_it_was_read_twice() -> None:
    compared = after(admitted(), *ROAD)

    once = page(compared, {CheckKind.COMPARE: trial(memory=memory(300))})
    often = page(compared, {CheckKind.COMPARE: trial(memory=memory(300, 305, 312))})

    assert "? Not read often enough to say anything." in once.text
    assert often.pictures[-1] == "Memory held: 12.0 MiB more after 20 requests."


def test_the_weaker_isolation_of_a_shadow_is_told() -> None:
    told = page(after(admitted(), *ROAD), {CheckKind.COMPARE: trial()}, isolation=Isolation.SHADOW)

    assert "which isolates less than a canary of its own" in told.text


def test_a_version_that_is_watched_alone_is_held_against_no_other() -> None:
    found = after(
        admitted(copies=Copies.ONE_AT_A_TIME), *ROAD, S.PROMOTING, S.SOAKING, S.FINISHING, S.DONE
    )
    guard = trial(races={}, memory=None)
    told = page(found, {CheckKind.COMPARE: trial(), CheckKind.GUARD: guard}).text

    assert "canary, a server of its own. Version 2 against 1, 2 rounds in 2.5 s." in told
    assert "clients' requests. Version 2 alone, 2 rounds in 2.5 s." in told
    assert "Version 1 had left, so there was nothing to hold latencies against." in told


def test_what_a_release_waits_for_is_told_unless_it_is_a_person() -> None:
    found = after(admitted(), *ROAD)

    assert "? Waits for canary: no answer\n" in page(found, waits_for="canary: no answer").text
    paused = page(replace(found, paused_by="bob"), waits_for="a person to resume it").text
    assert "Waits for" not in paused


def test_steps_show_how_long_each_took_and_who_asked() -> None:
    found = after(admitted(), *ROAD, S.AWAITING).entered(
        S.PROMOTING, at_s=BEGUN_S + 90, note="approved", by=Asked("bob", "op")
    )
    told = page(found).text

    assert "6 s awaiting 84 s because\n" in told
    assert "90 s promoting 10 s approved (bob)\n" in told


def test_a_page_stands_alone_and_names_nothing_twice() -> None:
    both = {CheckKind.COMPARE: trial(), CheckKind.GUARD: trial()}
    told = page(after(admitted(), *ROAD, S.PROMOTING, S.SOAKING), both)

    assert not told.tags & {"script", "link", "img", "iframe", "object"}
    assert len(told.ids) == len(set(told.ids))
    assert {link.removeprefix("#") for link in told.links} <= set(told.ids)
    assert len(told.pictures) == 2 * 5


def test_a_page_has_no_colour_but_those_of_its_style_sheet() -> None:
    written = html(after(admitted(), *ROAD), {CheckKind.COMPARE: trial()})
    drawn = written.partition("</style>")[2]

    assert re.findall(r"#[0-9a-f]{6}\b(?=[;\"])", drawn) == []
    assert "var(--version)" in drawn


def test_the_same_bodies_and_time_give_the_same_bytes() -> None:
    release, trials = after(admitted(), *ROAD), {CheckKind.COMPARE: trial()}

    assert html(release, trials) == html(release, trials)


def test_whatever_names_and_notes_say_is_shown_and_not_obeyed() -> None:
    hostile = trial(
        races={HOSTILE: race(), "$\\frac{$": race()},
        outputs={HOSTILE: agreement([1e-2])},
        failures=1,
        failure=HOSTILE,
        obstacle=HOSTILE,
    )
    told = page(
        after(admitted(model="m; rm -rf ~"), *ROAD, S.AWAITING, note=HOSTILE, paused_by=HOSTILE),
        {CheckKind.COMPARE: hostile},
    )

    assert "script" not in told.tags
    assert {link.removeprefix("#") for link in told.links} <= set(told.ids)
    assert told.text.count("<script>alert('1')</script>") >= 7
    assert "{{ 7 * 7 }}" in told.text
    assert "pilotlight resume 'm; rm -rf ~.2.1f' lets" in told.text


async def said(served: ServedSidecar, *arguments: str) -> tuple[int, str]:
    app = typer.Typer()
    app.command()(report_command.run)
    with structlog.testing.capture_logs():
        done = await asyncio.to_thread(
            CliRunner().invoke, app, [*arguments, "--url", served.url], catch_exceptions=False
        )
    return done.exit_code, done.output.strip()


async def test_the_command_writes_the_newest_release_of_a_model(
    served: ServedSidecar, tmp_path: Path
) -> None:
    publish(served.rig.store, "m", 1, tier="hot")
    served.rig.sidecar.world.waiting.wake.set()
    await served.rig.until(lambda: served.rig.missing() == [], "the model is ready")
    path = tmp_path / "m.html"

    code, told = await said(served, "m", "--output", str(path))

    assert (code, told.startswith(f"{path}: ")) == (0, True), told
    assert "m: version 1, its first\n" in read(path.read_text()).text
    code, told = await said(served, "unheard", "--output", str(path))
    assert (code, "no release 'unheard'" in told) == (1, True)
    code, told = await said(served, "m", "--output", str(tmp_path / "nowhere" / "m.html"))
    assert (code, "cannot be written" in told) == (1, True)


async def test_without_its_libraries_a_report_names_the_extra(
    served: ServedSidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "pilotlight.report.render")
    monkeypatch.setitem(sys.modules, "jinja2", None)

    assert await said(served, "m") == (
        1,
        "error: jinja2 is not installed\n  pip install 'pilotlight[charts]'",
    )
