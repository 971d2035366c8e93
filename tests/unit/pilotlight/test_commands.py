"""Commands that ask a running sidecar, on fake servers."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import structlog
import typer
from typer.testing import CliRunner

from pilotlight.admin import Admin, AdminError
from pilotlight.cli import app
from pilotlight.commands.events import parse_time
from pilotlight.commands.traffic import parse_weights
from tests.builders import publish
from tests.fakes.gateway import FakeGateway
from tests.unit.sidecar.test_api_served import Served


async def said(served: Served, *arguments: str) -> tuple[int, list[str]]:
    """Exit code of a command, and its lines."""
    # The sidecar of these tests logs to the same place.
    with structlog.testing.capture_logs():
        done = await asyncio.to_thread(
            CliRunner().invoke, app, [*arguments, "--url", served.url], catch_exceptions=False
        )
    return done.exit_code, [line.rstrip() for line in done.output.splitlines()]


async def lines(served: Served, *arguments: str) -> list[str]:
    code, told = await said(served, *arguments)
    assert code == 0, told
    return told


async def refused(served: Served, *arguments: str) -> str:
    code, told = await said(served, *arguments)
    assert code == 1, told
    return told[-1]


async def misused(served: Served, *arguments: str) -> str:
    """What is told in a box, as one line."""
    code, told = await said(served, *arguments)
    assert code == 2, told
    return " ".join(line.strip("│ ") for line in told)


async def with_models(served: Served, *cold: str) -> None:
    """`m` is hot and ready, and nothing is left to do."""
    publish(served.rig.store, "m", 1, tier="hot")
    for name in cold:
        publish(served.rig.store, name, 1)
    loop = served.rig.sidecar.loop

    def are_seen() -> bool:
        return loop.snapshot is not None and loop.snapshot.models.keys() == {"m", *cold}

    served.rig.sidecar.world.waiting.wake.set()
    await served.rig.until(are_seen, "the models are seen")
    await served.rig.at_rest()


async def test_status_lists_models_memory_and_readiness(served: Served) -> None:
    await with_models(served, "c")

    told = await lines(served, "status")

    assert told[0].split() == [
        "model",
        "tier",
        "warmth",
        "serves",
        "asked",
        "holds",
        "idle",
        "why",
    ]
    assert told[1].split()[:4] == ["m", "hot", "warmed", "1"]
    assert told[2].split()[:4] == ["c", "cold", "disk", "-"]
    assert told[3] == "1 warmed, 1 disk"
    assert told[4].startswith("cpu ")
    assert told[5:] == ["ready"]


async def test_status_shows_the_models_of_one_tier_or_warmth(served: Served) -> None:
    await with_models(served, "c", "d")

    assert [line.split()[0] for line in (await lines(served, "status", "--tier", "hot"))[1:2]] == [
        "m"
    ]
    told = await lines(served, "status", "--warmth", "disk", "--limit", "1")
    assert [told[1].split()[0], told[2]] == ["c", "2 disk; 1 not shown"]


async def test_status_says_what_waits_to_be_released(served: Served) -> None:
    await with_models(served)
    publish(served.rig.store, "m", 2, tier="hot")
    loop = served.rig.sidecar.loop
    await served.rig.until(
        lambda: loop.snapshot is not None and 2 in loop.snapshot.models["m"].versions,
        "the new version is seen",
    )

    told = await lines(served, "status")
    assert told[-2] == "nobody has released version 2 of m: pilotlight release m 2"
    (model,) = json.loads("".join(await lines(served, "status", "--json")))["models"]
    assert model["pending_version"] == 2


async def test_explain_asks_the_planner(served: Served) -> None:
    await with_models(served, "c")

    assert (await lines(served, "explain", "c"))[-1] == (
        "a request   c fits; nothing would be evicted"
    )
    assert "did you mean 'c'?" in await refused(served, "explain", "cc")


async def test_ensure_waits_and_says_how_the_model_was_found(served: Served) -> None:
    await with_models(served, "c")

    assert (await lines(served, "ensure", "c"))[0].startswith("cold: c answers after ")
    assert (await lines(served, "ensure", "c"))[0].startswith("hit: c answers after ")


async def test_pause_resume_and_drain_set_the_mode(served: Served) -> None:
    await with_models(served, "c")

    assert (await lines(served, "pause"))[0].startswith("paused since ")
    assert "resume it first" in await refused(served, "ensure", "c")
    assert (await lines(served, "drain"))[0].startswith("draining since ")
    await served.rig.until(lambda: served.rig.missing() != [], "it drains")
    assert (await lines(served, "status"))[-1].startswith("not ready: draining")
    assert (await lines(served, "resume"))[0].endswith("asked for by api; profile production")


@pytest.mark.parametrize("action", ["load", "unload"])
async def test_what_cannot_go_on_says_once_why(served: Served, action: str) -> None:
    await with_models(served, "c")
    await lines(served, "pause")

    code, (waits, error, remedy) = await said(served, action, "c", "--timeout-s", "0.3")
    paused = "waits for the sidecar, which is paused"
    assert (code, waits) == (1, paused)
    assert error.startswith(f"error: {action} of c goes on after 0.3 s and {paused}; look at ")
    assert remedy.endswith(" tells how it ends")
    assert (await lines(served, "operations"))[1].endswith(paused)


async def test_set_changes_a_spec_and_takes_back_what_is_left_empty(served: Served) -> None:
    await with_models(served, "c")

    first = await lines(
        served, "set", "c", "tier=warm", "pin=true", "priority=2", "idle_timeout_s=600"
    )
    assert [line.split() for line in first[1:5]] == [
        ["tier", "warm", "warm"],
        ["pin", "true", "true"],
        ["priority", "2", "2"],
        ["idle_timeout_s", "600", "600"],
    ]
    second = await lines(served, "set", "c", "tier=", "priority=3")
    assert [line.split() for line in second[1:4]] == [
        ["tier", "cold", "-"],
        ["pin", "true", "true"],
        ["priority", "3", "3"],
    ]


async def test_what_cannot_be_set_is_refused_in_the_words_of_the_sidecar(served: Served) -> None:
    await with_models(served)

    assert "did you mean 'tier'?" in await refused(served, "set", "m", "tear=hot")
    assert "/body/priority" in await refused(served, "set", "m", "priority=high")
    assert "'tier' is no change; write for example 'tier=warm'" in await misused(
        served, "set", "m", "tier"
    )


async def test_unquarantine_needs_a_quarantine(served: Served) -> None:
    await with_models(served)

    assert await refused(served, "unquarantine", "m") == (
        "error: 409 not_quarantined: m is not in quarantine"
    )


async def test_plan_shows_the_present_or_what_another_budget_would_change(served: Served) -> None:
    await with_models(served, "c")

    assert (await lines(served, "plan"))[0] == "nothing to do"
    told = await lines(served, "plan", "--budget", "3MiB", "--load", "c")
    assert told[0] == "c fits; nothing would be evicted"
    assert told[2].split() == ["models", "held", "1", "2"]
    assert told[-1].split()[:2] == ["comes", "c"]
    small = await lines(served, "plan", "--budget", "cpu=1KiB")
    assert small[-1].startswith("budget too small: ")
    assert "/body/budgets/cpu: '1Kb' is no size" in await refused(served, "plan", "--budget", "1Kb")


async def test_events_and_audit_tell_what_was_done_and_by_whom(served: Served) -> None:
    await with_models(served, "c")
    await lines(served, "pause")

    assert (await lines(served, "events"))[-1].endswith("mode_changed        for api  mode: paused")
    assert len(await lines(served, "audit", "--actor", "api", "--since", "1h")) == 1
    assert await lines(served, "audit", "--until", "2026-01-01") == []
    assert all("  m  " in line for line in await lines(served, "events", "--model", "m"))


async def test_the_client_follows_events_behind_an_id_until_the_sidecar_stops(
    served: Served,
) -> None:
    await with_models(served)

    def follow(admin: Admin) -> list[str]:
        found = []
        for entry in admin.events(model="m", after=0):
            found.append(entry["event"])
            if entry["event"] == "version_recorded":
                served.server.end()
        return found

    with Admin(served.url) as admin:
        found = await asyncio.to_thread(follow, admin)

    assert found[0] == "release_moved"
    assert "version_recorded" in found


async def test_a_stream_that_is_refused_is_an_error(served: Served) -> None:
    def follow(admin: Admin) -> None:
        next(admin.events(model=None, after=-1))

    with Admin(served.url) as admin, pytest.raises(AdminError, match="422 invalid_request: "):
        await asyncio.to_thread(follow, admin)


def test_a_token_file_that_is_missing_is_named(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["status", "--token-file", str(tmp_path / "none")])

    assert done.exit_code == 2
    assert "Invalid value for '--token-file'" in done.output


@pytest.mark.parametrize(
    ("text", "ago"),
    [("90s", timedelta(seconds=90)), ("15m", timedelta(minutes=15)), ("7d", timedelta(days=7))],
)
def test_a_time_may_be_so_long_ago(text: str, ago: timedelta) -> None:
    found = datetime.fromisoformat(parse_time(text))

    assert abs(datetime.now(UTC) - ago - found) < timedelta(seconds=10)


def test_a_time_may_be_a_date_in_any_zone() -> None:
    assert parse_time("2026-11-21T08:00+02:00") == "2026-11-21T06:00:00+00:00"


def test_a_time_that_is_neither_is_refused() -> None:
    with pytest.raises(typer.BadParameter, match="'soon' is no time"):
        parse_time("soon")


async def routed(served: Served) -> FakeGateway:
    """`m` is ready and the gateway sends its requests there."""
    await with_models(served)
    gateway = served.rig.gateway
    assert gateway is not None
    await served.rig.until(lambda: gateway.routes.have("m"), "it is routed")
    return gateway


async def test_traffic_steers_a_model_until_it_is_off(served_at_gateway: Served) -> None:
    served = served_at_gateway
    gateway = await routed(served)
    publish(served.rig.store, "m", 2, tier="hot")

    assert await lines(served, "traffic", "m") == [
        "requests that name no version meet the one that serves"
    ]
    told = await lines(served, "traffic", "m", "--weights", "1=95,2=5", "--sticky", "x-user")
    assert [line.split()[:4] for line in told[1:3]] == [
        ["version", "1", "95", "%"],
        ["version", "2", "5", "%"],
    ]
    assert told[3].startswith("version 2 is not loaded: it gets no request until a release")
    assert told[4] == "requests with the same x-user meet the same version"
    await served.rig.until(lambda: "m" in gateway.routes.splits, "it is steered")
    assert gateway.routes.splits["m"].weights == {1: 95}

    told = await lines(served, "traffic", "m", "--mirror", "10", "--sample", "5")
    assert [line.partition(";")[0] for line in told[-2:]] == [
        "canary gets a copy of 10 % of the requests",
        "canary is compared with 5 % of the requests",
    ]
    assert await lines(served, "traffic", "m", "--off") == [
        "requests that name no version meet the one that serves"
    ]
    await served.rig.until(lambda: gateway.routes.splits == {}, "it is not steered any more")
    assert served.rig.told("m").count("steering_changed") == 3


async def test_what_traffic_cannot_do_is_refused(served_at_gateway: Served) -> None:
    served = served_at_gateway
    await routed(served)

    assert "it has 1" in await refused(served, "traffic", "m", "--weights", "1=95,7=5")
    assert "of no use without weights" in await refused(served, "traffic", "m", "--sticky", "x-a")
    assert "--off ends all of it" in await misused(served, "traffic", "m", "--off", "--mirror", "1")
    assert "are no weights" in await misused(served, "traffic", "m", "--weights", "1:95")


async def test_gateway_and_status_show_what_is_routed(served_at_gateway: Served) -> None:
    served = served_at_gateway
    await routed(served)

    told = await lines(served, "gateway")
    assert told[0].split() == ["clients", "HTTP", "0.0.0.0:8000,", "gRPC", "0.0.0.0:8001"]
    assert told[1].startswith("replica own  1 model; ")
    assert told[-1] == "routes in force"
    assert (await lines(served, "status"))[-2:] == [
        "gateway HTTP 0.0.0.0:8000, gRPC 0.0.0.0:8001: 1 model routed, 0 requests waiting; "
        "routes in force",
        "ready",
    ]


async def test_without_a_gateway_nothing_can_be_steered(served: Served) -> None:
    await with_models(served)

    assert (await lines(served, "gateway"))[0].startswith("no gateway: ")
    assert "409 no_gateway" in await refused(served, "traffic", "m")


@pytest.mark.parametrize("text", ["", "1", "1=", "1=2,", "1=x", "-1=2", "1=1,1=2"])
def test_weights_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="are no weights"):
        parse_weights(text)
