"""Commands about releases, on fake servers behind a real port."""

import asyncio
import csv
import json
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import typer

from pilotlight.admin import Admin
from pilotlight.commands.release import parse_duration, parse_shares, watch_command
from sidecar.core.fleet import Rejection, Server
from tests.builders import publish
from tests.eventually import POLL_S
from tests.unit.pilotlight.test_commands import lines, misused, refused, said, with_models
from tests.unit.pilotlight.test_train_command import words_in
from tests.unit.sidecar.test_api_served import Served

QUICK = {"outputs": "any", "latency_margin": None, "soak_s": 0.3}
MANUAL = {**QUICK, "approval": "manual"}


async def begun(
    served: Served, strategy: dict[str, Any], *, state: str | None = None
) -> dict[str, Any]:
    """A release of version 2 of `m`, when it has come to a state."""
    publish(served.rig.store, "m", 2, tier="hot")
    body = {"version": 2, "strategy": strategy}
    with Admin(served.url) as admin:
        operation = await asyncio.to_thread(admin.ask, "/v1/models/m/releases", body)
        path = operation["release"]
        found = await asyncio.to_thread(admin.release, path)
    return found if state is None else await come_to(served, found, state)


async def come_to(served: Served, release: dict[str, Any], state: str) -> dict[str, Any]:
    with Admin(served.url) as admin:
        while release["state"] != state:
            assert release["active"], release["reason"]
            await asyncio.sleep(POLL_S)
            release = await asyncio.to_thread(admin.release, release["location"])
    return release


async def followed(served: Served) -> None:
    """Return when a command follows a release."""
    registry = served.rig.sidecar.world.telemetry.registry
    is_followed = partial(registry.get_sample_value, "pilotlight_event_readers")
    await served.rig.until(lambda: bool(is_followed()), "somebody follows")


async def asked(served: Served, release: dict[str, Any], verb: str) -> None:
    """Beside a command that runs: two of them cannot be told apart by what they print."""
    with Admin(served.url) as admin:
        await asyncio.to_thread(admin.ask, f"{release['location']}:{verb}")


async def test_a_release_is_watched_until_it_is_done(served: Served) -> None:
    await with_models(served, "c")

    told = await lines(served, "release", "c", "1")

    assert [line.split()[2] for line in told[:-1]] == [
        "admitted",
        "canary_loading",
        "verifying",
        "canary_warming",
        "promoting",
        "finishing",
        "done",
    ]
    assert told[0].endswith("version 1 requested by api; the model has never served")
    assert told[-1].startswith("done: version 1 of c serves, after ")


async def test_models_that_never_served_are_proven_ahead_of_their_first_request(
    served: Served,
) -> None:
    await with_models(served, "c")
    publish(served.rig.store, "d", 1, scale=2.02)

    code, told = await said(served, "release", "--all-pending", "--unserved")

    assert code == 1
    assert told[0].endswith(": 2 to release")
    assert told[1].split()[:2] == ["c", "admitted"]
    assert "  c  done            version 1 is recorded; the model is not loaded" in told
    assert told[-2].split()[:2] == ["d", "refused"]
    assert told[-1] == "done: 1 done, 1 failed"
    assert served.rig.serving.ready("c") == set()


async def test_a_refused_version_ends_the_command_badly(served: Served) -> None:
    await with_models(served)
    publish(served.rig.store, "m", 2, tier="hot", scale=2.02)

    code, told = await said(served, "release", "m", "2")

    assert code == 1
    assert told[-1].startswith("refused: version 2 of m, after ")
    assert "scaled error 1.00e-02" in told[-1]


async def test_what_the_sidecar_refuses_is_told_in_its_words(served: Served) -> None:
    await with_models(served)
    rejection = Rejection(at_s=1.0, release="m.2.x", reason="slower")
    publish(served.rig.store, "m", 2, tier="hot")
    await served.rig.sidecar.world.records.reject("m", 2, rejection)

    assert "423 version_rejected" in await refused(served, "release", "m", "2")
    assert "m has no version 7" in await refused(served, "release", "m", "7")
    publish(served.rig.store, "m", 3, tier="hot")
    assert "409 no_gateway" in await refused(served, "release", "m", "3", "--shift", "5,25")
    assert "of which model, or --all-pending" in await misused(served, "release", "m")
    assert "--unserved goes with --all-pending" in await misused(
        served, "release", "m", "2", "--unserved"
    )
    assert await refused(served, "promote", "mm") == "  did you mean 'm'?"
    assert "409 release_elsewhere" in await refused(served, "abort", "m")


async def test_a_rejected_version_may_be_released_again_when_a_person_says_so(
    served: Served,
) -> None:
    await with_models(served)
    publish(served.rig.store, "m", 2, tier="hot")
    rejection = Rejection(at_s=1.0, release="m.2.x", reason="slower")
    await served.rig.sidecar.world.records.reject("m", 2, rejection)

    assert await lines(served, "unreject", "m", "2") == ["version 2 of m may be released again"]
    assert "409 not_rejected" in await refused(served, "unreject", "m", "2")
    assert (await lines(served, "release", "m", "2", "--no-watch"))[0].startswith("begun: ")


async def test_a_release_that_goes_on_is_watched_from_its_begin(served: Served) -> None:
    await with_models(served)
    found = await begun(served, MANUAL, state="awaiting")

    code, told = await said(served, "watch", "m")
    assert (code, told[0].split()[2]) == (3, "admitted")
    assert told[-1].startswith("waits for a person: version 2 of m; `pilotlight promote m`")

    await asked(served, found, "abort")
    code, told = await said(served, "watch", found["id"])
    assert (code, told[-1].startswith("refused: version 2 of m, after ")) == (1, True)


async def test_a_watch_says_that_the_release_waits_for_a_canary(served: Served) -> None:
    await with_models(served)
    served.rig.canary.kill()
    found = await begun(served, QUICK)

    def is_away() -> bool:
        seen = served.rig.sidecar.loop.snapshot
        is_loading = seen is not None and seen.releases["m"].state == "canary_loading"
        return is_loading and seen.servers[Server.CANARY].problem is not None

    await served.rig.until(is_away, "the release waits")
    shown = StringIO()

    def watch() -> None:
        with Admin(served.url) as admin:
            # The command's own function: what it has shown can be seen while it goes on.
            watch_command.run.__wrapped__(words_in(shown), admin, "m")

    watched = asyncio.create_task(asyncio.to_thread(watch))
    await served.rig.until(lambda: "waits for canary: no answer" in shown.getvalue(), "it is told")
    served.rig.canary.restart()

    await watched
    told = shown.getvalue().splitlines()
    assert len([line for line in told if line.startswith("waits for ")]) == 1
    assert told[-1].startswith("done: version 2 of m serves")
    assert (await come_to(served, found, "done"))["waits_for"] is None


async def test_the_options_of_a_release_are_its_strategy(served: Served) -> None:
    await with_models(served)
    publish(served.rig.store, "m", 2, tier="hot")

    options = ("--manual", "--soak", "2m", "--outputs", "equal", "--one-copy", "--bake", "500ms")
    margin = ("--margin", "0.5")
    (told,) = await lines(served, "release", "m", "2", *options, *margin, "--no-watch")

    with Admin(served.url) as admin:
        found = await asyncio.to_thread(admin.release, told.removeprefix("begun: "))
    strategy = found["strategy"]
    assert (strategy["approval"], strategy["soak_s"], strategy["bake_s"]) == ("manual", 120, 0.5)
    assert (strategy["outputs"], strategy["copies"]) == ("equal", "one_at_a_time")
    assert strategy["latency_margin"] == 0.5
    sticky = ("--sticky", "x-user")
    assert "of no use without shift" in await refused(served, "release", "m", "2", *sticky)


async def test_a_release_waits_for_a_person_and_goes_on_when_promoted(served: Served) -> None:
    await with_models(served)
    found = await begun(served, {**MANUAL, "soak_s": 3600}, state="awaiting")

    code, told = await said(served, "release", "m", "2", "--supersede")
    assert (code, "release_active" in told[-1]) == (1, True)

    watched = asyncio.create_task(said(served, "promote", "m"))
    await come_to(served, found, "soaking")
    await asked(served, found, "pause")
    code, told = await watched
    assert code == 3
    assert "approved" in told[0]
    assert told[-1] == (
        "paused by api: version 2 of m; `pilotlight resume m` or `pilotlight abort m`"
    )

    assert (await lines(served, "resume", found["id"]))[-1] == "done: resume of m"
    assert (await lines(served, "pause", "m"))[-1] == "done: pause of m"
    told = await lines(served, "promote", "m")
    assert "rest of the soak skipped" in told[0]
    assert told[-1].startswith("done: version 2 of m serves")


async def test_an_aborted_release_shows_how_it_ends(served: Served) -> None:
    await with_models(served)
    await begun(served, MANUAL, state="awaiting")

    told = await lines(served, "abort", "m")

    assert told[0].endswith("refused         aborted by api")
    assert told[-1] == "done: abort of m"


async def test_a_rollback_shows_only_its_own_steps(served: Served) -> None:
    await with_models(served)
    await begun(served, QUICK, state="done")

    told = await lines(served, "rollback", "m")

    assert [line.split()[2] for line in told[:-1]] == ["restoring", "rolling_back", "rolled_back"]
    assert told[-1] == "done: rollback of m"


async def test_a_watch_goes_on_when_the_sidecar_comes_back(served: Served) -> None:
    await with_models(served)
    found = await begun(served, {**MANUAL, "soak_s": 3600}, state="awaiting")
    watched = asyncio.create_task(said(served, "promote", "m"))
    await come_to(served, found, "soaking")
    await followed(served)

    # Whoever follows is sent home, and comes again.
    served.rig.sidecar.world.telemetry.close()
    await asked(served, found, "abort")

    code, told = await watched
    assert code == 1
    assert told[-1].startswith("rolled back: version 2 of m, after ")
    assert len({line for line in told if "soaking" in line}) == 1


async def test_history_is_told_and_written(served: Served, tmp_path: Path) -> None:
    await with_models(served, "c")
    await begun(served, QUICK, state="done")
    file = tmp_path / "history.csv"

    told = await lines(served, "history", "m")
    assert await lines(served, "history", "m", "--csv", str(file)) == [
        f"2 releases written to {file}"
    ]
    newest, first = json.loads("\n".join(await lines(served, "history", "m", "--json")))

    assert [line.split()[1:5] for line in told if line.startswith("m.")] == [
        ["version", "1", "->", "2,"],
        ["version", "1,", "its", "first,"],
    ]
    assert (newest["version"], first["version"]) == (2, 1)
    with file.open(newline="") as table:
        rows = list(csv.DictReader(table))
    assert len(rows) == len(newest["steps"]) + len(first["steps"])
    assert rows[0]["release"] == newest["id"]
    assert await lines(served, "history", "c") == ["no release yet"]
    assert "No such file or directory" in await refused(
        served, "history", "m", "--csv", str(tmp_path / "none" / "x.csv")
    )


@pytest.mark.parametrize("text", ["", "5,", "a", "5;25", "-5", "1000"])
def test_shares_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="are no shares"):
        parse_shares(text)


def test_a_duration_without_a_unit_is_refused() -> None:
    with pytest.raises(typer.BadParameter, match="'60' is no duration; write for example '30s'"):
        parse_duration("60")


@pytest.mark.parametrize("by_id", [False, True])
async def test_a_rollback_shows_how_the_version_that_serves_goes_back(
    served: Served, *, by_id: bool
) -> None:
    await with_models(served)
    promoted = await begun(served, QUICK, state="done")
    publish(served.rig.store, "m", 3, tier="hot", scale=2.02)
    assert (await said(served, "release", "m", "3"))[0] == 1

    told = await lines(served, "rollback", promoted["id"] if by_id else "m")

    assert [line.split()[2] for line in told[:-1]] == ["restoring", "rolling_back", "rolled_back"]
    assert told[-1] == "done: rollback of m"
    assert await served.rig.recorded() == 1


async def test_all_checks_are_shown_where_somebody_asks_for_them(served: Served) -> None:
    await with_models(served)
    await begun(served, {**QUICK, "latency_margin": 20.0}, state="done")

    _, brief = await said(served, "watch", "m")
    _, told = await said(served, "watch", "m", "-v")

    passed = [each for each in told if each.split()[0] == "pass"]
    assert brief[-2] == f"{len(passed)} checks passed (pilotlight report m)"
    assert len(told) == len(brief) - 1 + len(passed)
    assert any("latency: " in each and " pairs, " in each for each in passed)
