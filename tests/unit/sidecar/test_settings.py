"""Settings: read once; what is wrong is told with the file, the key and the remedy."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from contract.intent import Tier
from sidecar.core.fleet import Server
from sidecar.errors import InvalidSettings
from sidecar.settings import load_settings, read_secret

COMPLETE = {
    "store": "model_repository",
    "state": "run/state.db",
    "servers": {
        "serving": {"grpc": "127.0.0.1:8001", "stage": "run/serving", "admin_key_file": "run/key"},
        "canary": {"grpc": "canary:8001", "stage": "/stages/canary"},
    },
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sidecar.yaml"


def changed(**changes: Any) -> dict[str, Any]:
    return {**COMPLETE, **changes}


def said(path: Path, content: object) -> str:
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(InvalidSettings) as caught:
        load_settings(path)
    message = str(caught.value)
    assert message.startswith(f"settings {path}")
    return message.removeprefix(f"settings {path}: ")


def test_paths_are_relative_to_the_file(path: Path) -> None:
    path.write_text(yaml.safe_dump(changed(api={"token_file": "token"})))

    settings = load_settings(path)

    home = path.parent
    serving, canary = settings.servers[Server.SERVING], settings.servers[Server.CANARY]
    assert settings.store == home / "model_repository"
    assert settings.state == home / "run/state.db"
    assert (serving.stage, serving.admin_key_file) == (home / "run/serving", home / "run/key")
    assert (canary.stage, canary.admin_key_file) == (Path("/stages/canary"), None)
    assert settings.api.token_file == home / "token"


def test_what_is_not_said_has_a_default(path: Path) -> None:
    path.write_text(yaml.safe_dump(COMPLETE))

    settings = load_settings(path)

    assert (settings.api.host, settings.api.port, settings.api.token_file) == (
        "127.0.0.1",
        8080,
        None,
    )
    assert settings.models == {}
    assert (settings.soak_s, settings.parallel_loads) == (60.0, 4)


def test_tiers_can_be_overridden(path: Path) -> None:
    path.write_text(yaml.safe_dump(changed(models={"m": {"tier": "hot"}})))

    assert load_settings(path).models["m"].tier is Tier.HOT


def test_a_sidecar_may_have_no_canary(path: Path) -> None:
    servers = {"serving": COMPLETE["servers"]["serving"]}  # type: ignore[index]
    path.write_text(yaml.safe_dump(changed(servers=servers)))

    assert load_settings(path).servers.keys() == {Server.SERVING}


@pytest.mark.parametrize("api", [None, {}, {"port": 1}])
def test_a_port_from_the_command_line_wins(path: Path, api: dict[str, int] | None) -> None:
    path.write_text(yaml.safe_dump(changed(api=api or {})))
    assert load_settings(path, port=0).api.port == 0

    path.write_text(yaml.safe_dump(COMPLETE) + "api:\n")
    assert load_settings(path, port=9).api.port == 9


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (changed(servrs={}), "unknown key 'servrs'; did you mean 'servers'?"),
        (
            changed(servers={**COMPLETE["servers"], "serving": {"grcp": "a:1", "stage": "s"}}),  # type: ignore[dict-item]
            "servers.serving: unknown key 'grcp'; did you mean 'grpc'?",
        ),
        (
            changed(servers={"canary": COMPLETE["servers"]["canary"]}),  # type: ignore[index]
            "servers lacks serving: say which Triton takes traffic; a `canary` beside it is where "
            "versions are proven before",
        ),
        (
            changed(
                servers={
                    "serving": {"grpc": "a:1", "stage": "run/stage"},
                    "canary": {"grpc": "a:2", "stage": "./run//stage"},
                }
            ),
            "two servers share one stage; each Triton needs its own folder, and where there is "
            "one Triton only, leave `canary` out",
        ),
        (
            changed(api={"host": "0.0.0.0"}),  # noqa: S104
            "api.host 0.0.0.0 is reachable from other machines; set api.token_file, or bind to "
            "127.0.0.1",
        ),
        (
            changed(models={"m": {"tier": "tepid"}}),
            "models.m.tier: 'tepid' cannot stand here; it takes 'hot', 'warm', 'cold' or 'auto'",
        ),
        (
            changed(servers={"serving": {"grpc": "http://127.0.0.1:8001", "stage": "s"}}),
            "servers.serving.grpc: 'http://127.0.0.1:8001' cannot stand here; write host:port, "
            "such as 127.0.0.1:8001",
        ),
        (
            changed(policy={"budgets": {"gpu": "1GiB"}}),
            "policy.budgets.gpu.[key]: 'gpu' cannot stand here; write cpu, or gpu:0 for the first "
            "GPU",
        ),
        (
            changed(servers={"serving": {"grpc": "a:1"}}),
            "servers.serving.stage: this key is missing; its meaning: Its --model-repository as "
            "this process sees it. Written by this process only",
        ),
        (changed(soak_s=-1), "soak_s: Input should be greater than or equal to 0"),
        (changed(parallel_loads=0), "parallel_loads: Input should be greater than or equal to 1"),
    ],
)
def test_what_is_impossible_is_told(path: Path, content: object, message: str) -> None:
    assert said(path, content) == message


@pytest.mark.parametrize("address", ["8001", "http://a:1", "a b:1", "a:", "a:x"])
def test_a_grpc_address_is_host_and_port(path: Path, address: str) -> None:
    servers = {**COMPLETE["servers"], "canary": {"grpc": address, "stage": "c"}}  # type: ignore[dict-item]

    assert said(path, changed(servers=servers)).startswith("servers.canary.grpc: ")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.8.8", "::1"])
def test_a_loopback_address_needs_no_token(path: Path, host: str) -> None:
    path.write_text(yaml.safe_dump(changed(api={"host": host})))

    assert load_settings(path).api.is_loopback


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "sidecar.example"])  # noqa: S104
def test_another_address_needs_one(path: Path, host: str) -> None:
    assert "is reachable from other machines" in said(path, changed(api={"host": host}))

    path.write_text(yaml.safe_dump(changed(api={"host": host, "token_file": "token"})))
    assert not load_settings(path).api.is_loopback


@pytest.mark.parametrize(
    "content",
    [
        changed(servers={**COMPLETE["servers"], "canary": {"grpc": "a:1", "stage": stage}})  # type: ignore[dict-item]
        for stage in ("model_repository", "model_repository/canary", ".")
    ],
)
def test_a_stage_lies_apart_from_the_store(path: Path, content: object) -> None:
    """The sidecar deletes in a stage what no server is to hold."""
    assert said(path, content).startswith("stage of canary and the store lie inside each other")


# The gateway.


def with_gateway(**said: Any) -> dict[str, Any]:
    servers = {
        "serving": {"grpc": "127.0.0.1:8201", "http": "127.0.0.1:8200", "stage": "run/serving"},
        "canary": {"grpc": "127.0.0.1:8101", "stage": "run/canary"},
    }
    return changed(servers=servers, gateway={"folder": "run/gateway", **said})


def other_replica(name: str) -> dict[str, str]:
    return {"name": name, "http": "b:8200", "grpc": "b:8201", "api": "http://b:8080"}


def test_there_is_no_gateway_unless_it_is_asked_for(path: Path) -> None:
    path.write_text(yaml.safe_dump(COMPLETE))

    assert load_settings(path).gateway is None


def test_a_gateway_needs_a_folder_and_has_a_default_for_all_else(path: Path) -> None:
    path.write_text(yaml.safe_dump(with_gateway()))

    gateway = load_settings(path).gateway

    assert gateway is not None
    assert gateway.folder == path.parent / "run/gateway"
    assert (gateway.http, gateway.grpc) == ("0.0.0.0:8000", "0.0.0.0:8001")
    assert (gateway.seen_folder, gateway.tls, gateway.api_keys) == (None, None, ())
    assert gateway.largest_request < gateway.memory
    assert said(path, changed(gateway={})) == (
        "gateway.folder: this key is missing; its meaning: Where this process writes what Envoy "
        "reads"
    )


def test_paths_of_the_gateway_are_ours_or_those_that_envoy_sees(path: Path) -> None:
    """What only Envoy reads stays as it was said."""
    content = with_gateway(
        seen_folder="/etc/gateway",
        tls={"certificate": "/etc/tls/cert.pem", "key": "/etc/tls/key.pem"},
        api_keys=[{"client": "ann", "file": "keys/ann"}],
        replicas=[{**other_replica("b"), "token_file": "keys/b"}],
    )
    path.write_text(yaml.safe_dump(content))

    gateway = load_settings(path).gateway

    assert gateway is not None
    assert gateway.seen_folder == Path("/etc/gateway")
    assert gateway.tls is not None
    assert gateway.tls.key == Path("/etc/tls/key.pem")
    assert [key.file for key in gateway.api_keys] == [path.parent / "keys/ann"]
    assert [each.token_file for each in gateway.replicas] == [path.parent / "keys/b"]


def test_sizes_are_bytes_with_units(path: Path) -> None:
    path.write_text(yaml.safe_dump(with_gateway(largest_request="64MiB", memory="2GiB")))

    gateway = load_settings(path).gateway

    assert gateway is not None
    assert (gateway.largest_request, gateway.memory) == (64 * 2**20, 2 * 2**30)


@pytest.mark.parametrize(
    ("gateway", "message"),
    [
        (
            {"admin": "0.0.0.0:9901"},
            "gateway: admin is 0.0.0.0:9901, and whoever reaches that port can end Envoy; use a "
            "loopback address such as 127.0.0.1:9901",
        ),
        (
            {"api_keys": [{"client": "ann", "file": "a"}, {"client": "ann", "file": "b"}]},
            "gateway: two API keys are of ann; give each client one",
        ),
        (
            {"replicas": [other_replica("own")]},
            "gateway: a replica cannot be named own, which is taken; name it otherwise",
        ),
        (
            {"replicas": [other_replica("b"), other_replica("b")]},
            "gateway: a replica cannot be named b, which is taken; name it otherwise",
        ),
        (
            {"replicas": [{**other_replica("b"), "api": "b:8080"}]},
            "gateway.replicas[0].api: 'b:8080' cannot stand here; write a URL, such as "
            "http://127.0.0.1:8080",
        ),
        (
            {"admin": "localhost:9901"},
            "gateway: admin must be an IP address and a port, for Envoy binds it: not 'localhost'; "
            "127.0.0.1 is this machine, 0.0.0.0 all of its addresses",
        ),
        ({"admn": "x"}, "gateway: unknown key 'admn'; did you mean 'admin'?"),
        (
            {"tls": {"certificate": "c.pem"}},
            "gateway.tls.key: this key is missing; its meaning: The private key of the certificate",
        ),
        (
            {"api_keys": [{"client": "", "file": "a"}]},
            "gateway.api_keys[0].client: '' cannot stand here; write up to 64 letters, digits and "
            "any of ._@- behind the first, such as ann",
        ),
        ({"longest_hold_s": 0}, "gateway.longest_hold_s: Input should be greater than 0"),
        ({"most_waiting": 0}, "gateway.most_waiting: Input should be greater than or equal to 1"),
        (
            {"activator": {"htp": "a:1"}},
            "gateway.activator: unknown key 'htp'; did you mean 'http'?",
        ),
    ],
)
def test_what_is_impossible_for_a_gateway_is_told(
    path: Path, gateway: dict[str, Any], message: str
) -> None:
    assert said(path, with_gateway(**gateway)) == message


def test_a_gateway_must_know_where_triton_takes_http(path: Path) -> None:
    content = changed(gateway={"folder": "run/gateway"})

    assert said(path, content) == (
        "the gateway sends HTTP requests to servers.serving.http: say where that is, such as "
        "127.0.0.1:8200"
    )


def test_a_file_that_is_missing_or_no_yaml_is_named(path: Path) -> None:
    with pytest.raises(InvalidSettings) as caught:
        load_settings(path)
    assert str(caught.value) == (
        f"settings {path} cannot be read: No such file or directory; name yours with "
        "`--settings`; `pilotlight schema settings` has the keys of a new file"
    )
    path.write_text("servers: [")
    with pytest.raises(InvalidSettings, match=r"sidecar\.yaml are no YAML"):
        load_settings(path)


@pytest.mark.parametrize("content", [None, "text", [1]])
def test_a_file_that_is_no_mapping_is_named(path: Path, content: object) -> None:
    assert "must be a mapping with keys such as `store`" in said(path, content)


@pytest.mark.parametrize("api", ["text", [1]])
def test_a_section_that_is_none_is_told_also_with_a_port_from_the_command_line(
    path: Path, api: object
) -> None:
    path.write_text(yaml.safe_dump(changed(api=api)))

    with pytest.raises(InvalidSettings, match="api: Input should be a valid dictionary"):
        load_settings(path, port=1)


def test_a_secret_is_read_without_its_newline(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret\n")

    assert read_secret(tmp_path / "token") == "secret"


def test_a_secret_that_is_missing_or_empty_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match=r"token cannot be read: No such file or d"):
        read_secret(tmp_path / "token")
    (tmp_path / "token").write_text("\n")
    with pytest.raises(InvalidSettings, match="token is empty; write the secret into it"):
        read_secret(tmp_path / "token")


def test_a_file_that_is_not_utf_8_is_named(path: Path) -> None:
    path.write_bytes("store: caf\u00e9".encode("latin-1"))

    with pytest.raises(InvalidSettings, match=r"sidecar\.yaml are not UTF-8: .*; save them so"):
        load_settings(path)
