"""A user's settings beside those that a stack decides."""

from pathlib import Path
from typing import Any

import pytest

from pilotlight.own_settings import OwnSettings, joined
from sidecar.core.fleet import Server
from sidecar.errors import InvalidSettings

DECIDED = {
    "store": "/home/store",
    "state": "/home/state.sqlite",
    "servers": {"serving": {"grpc": "127.0.0.1:1", "http": "127.0.0.1:2", "stage": "/home/stage"}},
    "api": {"host": "127.0.0.1", "port": 5},
    "gateway": {"folder": "/home/gateway", "http": "127.0.0.1:8"},
}
FILE = Path("/etc/own.yaml")


def test_a_users_keys_come_beside_those_that_are_decided() -> None:
    own = {
        "soak_s": 2,
        "policy": {"budgets": {"cpu": "600MiB"}},
        "models": {"m": {"tier": "hot"}},
        "gateway": {"most_waiting": 9},
        "servers": {"serving": {"metrics": "http://127.0.0.1:3/metrics"}},
    }
    found = OwnSettings(path=FILE, keys=own).beside(DECIDED)

    assert (found.soak_s, found.policy.budgets) == (2, {"cpu": 600 * 2**20})
    assert found.models["m"].tier == "hot"
    assert found.gateway is not None
    assert (found.gateway.most_waiting, found.gateway.http) == (9, "127.0.0.1:8")
    serving = found.servers[Server.SERVING]
    assert (serving.grpc, serving.metrics) == ("127.0.0.1:1", "http://127.0.0.1:3/metrics")


def test_paths_are_relative_to_the_users_file() -> None:
    own = {"gateway": {"api_keys": [{"client": "ann", "file": "ann.key"}]}}
    found = OwnSettings(path=FILE, keys=own).beside(DECIDED)

    assert found.gateway is not None
    assert found.gateway.api_keys[0].file == Path("/etc/ann.key")
    assert found.gateway.folder == Path("/home/gateway")


@pytest.mark.parametrize(
    ("own", "told"),
    [
        ({"store": "models"}, "store"),
        ({"api": {"port": 9}, "state": "x"}, "api.port, state"),
        ({"servers": {"serving": {"grpc": "127.0.0.1:7"}}}, "servers.serving.grpc"),
        ({"servers": None}, "servers"),
        ({"gateway": {"http": "0.0.0.0:80", "most_waiting": 9}}, "gateway.http"),
    ],
)
def test_what_is_decided_already_is_refused_by_name(own: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidSettings) as refused:
        OwnSettings(path=FILE, keys=own).beside(DECIDED)

    assert str(refused.value).startswith(
        f"settings {FILE}: `pilotlight up` decides {told} itself; leave that out, for --store, "
    )


def test_a_key_that_is_none_is_told_with_the_users_file() -> None:
    with pytest.raises(InvalidSettings, match=r"settings /etc/own\.yaml: .*did you mean 'policy'"):
        OwnSettings(path=FILE, keys={"polcy": {}}).beside(DECIDED)


def test_what_is_joined_is_as_the_second_says_and_changes_neither() -> None:
    file = {"soak_s": 9, "policy": {"price": 7, "budgets": {"cpu": "1GiB", "gpu:0": "8GiB"}}}
    typed = {"soak_s": 1, "policy": {"budgets": {"cpu": "2GiB"}}}

    assert joined(file, typed) == {
        "soak_s": 1,
        "policy": {"price": 7, "budgets": {"cpu": "2GiB", "gpu:0": "8GiB"}},
    }
    assert file["soak_s"] == 9
    assert joined({"policy": None}, typed) == typed
