"""The command for recorded requests, against a sidecar on fake servers; and its view."""

import json
from pathlib import Path

from rich.console import Console

from pilotlight.views.recording import recording_view
from sidecar.runtime.records import Records
from tests.unit.pilotlight.test_commands import lines, misused, refused, routed
from tests.unit.sidecar.test_api_served import Served

REQUEST = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]}
UNSAID = ["the gateway copies no requests of m", "0 kept, 0 B; at most 200"]


async def ready(served: Served) -> None:
    await Records(served.rig.state).set_serving("m", 1)
    await routed(served)


async def test_a_recording_is_said_until_it_is_off(
    served_at_gateway: Served, tmp_path: Path
) -> None:
    served, path = served_at_gateway, tmp_path / "request.json"
    await ready(served)
    path.write_text(json.dumps(REQUEST))

    assert await lines(served, "recording", "m") == UNSAID
    told = await lines(served, "recording", "m", "--percent", "5", "--most", "9", "--redact", "x")
    assert [line.partition(";")[0] for line in told] == [
        "the gateway copies 5 % of the requests of m",
        "0 kept, 0 B",
        "without the values of x",
    ]
    told = await lines(served, "recording", "m", "--add", str(path))
    assert told[1] == "1 kept, 8 B; at most 9"
    assert [each["x"].tolist() for each in served.rig.recordings.kept["m"]] == [[[0, 0]]]

    assert await lines(served, "recording", "m", "--off") == UNSAID


async def test_what_cannot_be_recorded_is_refused(
    served_at_gateway: Served, tmp_path: Path
) -> None:
    served, path = served_at_gateway, tmp_path / "request.json"
    await ready(served)

    assert "no input ids to redact; it has x" in await refused(
        served, "recording", "m", "--redact", "ids"
    )
    assert "--off ends all of it" in await misused(served, "recording", "m", "--off", "--most", "5")
    path.write_text("no JSON")
    assert "request.json is no JSON" in await refused(served, "recording", "m", "--add", str(path))
    path.write_text(json.dumps({"inputs": []}))
    assert "this is no request for inference" in await refused(
        served, "recording", "m", "--add", str(path)
    )


def test_what_was_not_kept_is_told_with_the_reason() -> None:
    console = Console(width=120)
    body = {
        "model": "m",
        "said": {"percent": 5, "most": 200, "redact": []},
        "copied": 20,
        "requests": 12,
        "bytes": 3 * 2**20,
        "dropped": {"too_large": 1, "unreadable": 2},
        "reason": "no JSON",
    }

    with console.capture() as captured:
        console.print(recording_view(body))

    assert captured.get().splitlines() == [
        "the gateway copies 5 % of the requests of m; now 20 %",
        "12 kept, 3.0 MiB; at most 200",
        "not kept: 3: 1 too_large, 2 unreadable; no JSON",
    ]
