"""What users do after `make up`, from outside, on a real Docker engine."""

import socket
import stat

import httpx2
import pytest
import yaml

from embedded.process import wait_until
from tests.compose import doubling
from tests.compose.product import FILES_OF_COMPOSE, HEALTHY_TIMEOUT_S, Product

RELEASE_S = 120.0
"""For what a release does until it rests; a comparison may take a minute."""
BOTH_FILES = [word for name in FILES_OF_COMPOSE for word in ("--file", name)]
SERVICES = ("pod", "triton", "triton-canary", "sidecar", "gateway")
# Of Triton, of the activator and of Envoy's operators; 8202 and 8102 tell metrics and no more.
CLOSED_PORTS = (8200, 8201, 8100, 8101, 8090, 8091, 9901)


def test_make_up_says_what_to_open_and_what_to_type_next(product: Product, said: str) -> None:
    for expected in (
        f"console    {product.api}/    with the token in ./secrets/operator.token",
        f"gateway    {product.gateway}/v2",
        f"curl -i {product.gateway}/v2/models/cold",
        "make logs",
        "make down",
    ):
        assert expected in said


def test_the_first_make_up_makes_settings_and_secrets_that_others_cannot_read(
    product: Product,
) -> None:
    assert (product.folder / ".env").read_text().startswith("# Copied to .env")
    secrets = product.folder / "secrets"
    found = {path.name: stat.S_IMODE(path.stat().st_mode) for path in secrets.iterdir()}
    names = ("admin.key", "operator.token", "viewer.token", "grafana.password")
    assert found == dict.fromkeys(names, 0o600)
    assert len({path.read_text() for path in secrets.iterdir()}) == len(names)


@pytest.mark.parametrize("service", SERVICES)
def test_a_container_has_no_powers_and_a_limit(product: Product, service: str) -> None:
    container = product.container(service)
    host = container["HostConfig"]
    uid, _, _ = container["Config"]["User"].partition(":")
    assert int(uid) > 0
    assert host["ReadonlyRootfs"]
    assert host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert host["Memory"] > 0
    assert host["RestartPolicy"]["Name"] == "unless-stopped"


def test_no_secret_is_in_what_docker_tells(product: Product) -> None:
    told = product.compose("config") + "".join(
        product.run("docker", "inspect", product.container(service)["Id"]) for service in SERVICES
    )
    for secret in (product.folder / "secrets").iterdir():
        assert secret.read_text().strip() not in told


def test_the_images_say_what_they_are_and_the_sidecar_has_no_torch(product: Product) -> None:
    labels = product.container("sidecar")["Config"]["Labels"]
    assert labels["org.opencontainers.image.title"] == "pilotlight-sidecar"
    assert labels["org.opencontainers.image.version"]
    script = "import importlib.util; print(importlib.util.find_spec('torch'))"
    assert product.compose("exec", "-T", "sidecar", "python", "-c", script).strip() == "None"


def test_the_console_is_at_the_root(product: Product) -> None:
    page = product.ask("/", accept="text/html")
    assert page.status_code == httpx2.codes.OK
    assert page.headers["content-type"].startswith("text/html")


def test_the_command_line_is_in_the_sidecar_with_its_token(product: Product) -> None:
    assert "hot" in product.compose("exec", "-T", "sidecar", "pilotlight", "status")


def test_a_hot_model_is_answered_and_a_cold_one_is_held_loaded_and_answered(
    product: Product,
) -> None:
    for model, warmth in (("hot", "hit"), ("cold", "cold")):
        answer = product.infer(model)
        assert answer.status_code == httpx2.codes.OK, answer.text
        assert answer.headers["x-warmth"] == warmth
        assert answer.json()["outputs"][0]["data"] == [2.0, 4.0]


@pytest.mark.parametrize(
    ("role", "refusal"), [(None, httpx2.codes.UNAUTHORIZED), ("viewer", httpx2.codes.FORBIDDEN)]
)
def test_nothing_changes_without_an_operator_s_token(
    product: Product, role: str | None, refusal: int
) -> None:
    assert product.post("/v1/models/hot:unload", role=role).status_code == refusal


def test_triton_and_what_steers_it_can_be_reached_from_inside_alone(product: Product) -> None:
    pod = product.container("pod")["NetworkSettings"]
    published = {port for port, bound in pod["Ports"].items() if bound}
    assert published == {"8000/tcp", "8001/tcp", "8080/tcp"}
    assert {bound[0]["HostIp"] for bound in pod["Ports"].values() if bound} == {"127.0.0.1"}
    (network,) = pod["Networks"].values()
    for port in CLOSED_PORTS:
        with socket.socket() as client:
            client.settimeout(2)
            assert client.connect_ex((network["IPAddress"], port)) != 0, f"{port} is open"


def test_the_sidecar_measures_what_models_hold_within_triton_s_limit(product: Product) -> None:
    (device,) = product.ask("/v1/devices").json()["devices"]
    held = {holder["model"]: holder["bytes"] for holder in device["holders"]}
    assert held["hot"] > 1e6
    assert device["capacity_bytes"] >= device["budget_bytes"]


def test_a_version_is_promoted_over_rest_and_rolled_back(product: Product) -> None:
    doubling.publish(product.store, "released", 2, tier="hot")

    def wait_for(state: str) -> None:
        def reached() -> bool:
            return bool(product.ask(release).json()["state"] == state)

        assert wait_until(reached, RELEASE_S), product.ask(release).json()["reason"]

    # The rollback ends the soak, and nothing else does.
    asked = {"version": 2, "strategy": {"soak_s": 3600.0}}
    release = product.post("/v1/models/released/releases", asked).json()["release"]
    wait_for("soaking")
    assert product.infer("released").json()["model_version"] == "2"
    assert product.post("/v1/models/released:rollback").is_success
    wait_for("rolled_back")
    assert product.infer("released").json()["model_version"] == "1"


def test_a_tritonserver_that_crashes_comes_back_with_what_it_had(product: Product) -> None:
    before, lost = product.container("triton")["RestartCount"], product.times("became_unready")
    product.kill_triton()
    # It may be back before anybody has asked whether it is ready.
    assert wait_until(lambda: product.times("became_unready") > lost, HEALTHY_TIMEOUT_S)
    product.wait_until_ready()
    assert product.container("triton")["RestartCount"] == before + 1
    assert product.infer("hot").headers["x-warmth"] == "hit"


def test_a_triton_that_somebody_kills_is_back_after_make_up(product: Product) -> None:
    """Docker does not restart what a person has killed."""
    product.compose("kill", "triton")
    assert wait_until(lambda: not product.is_ready(), HEALTHY_TIMEOUT_S)
    product.run("make", "up", "EMBEDDED=1")
    product.wait_until_ready()
    assert product.infer("hot").status_code == httpx2.codes.OK


def test_hot_traffic_goes_on_while_the_sidecar_is_dead(product: Product) -> None:
    product.compose("kill", "sidecar")
    try:
        assert product.infer("hot").json()["outputs"][0]["data"] == [2.0, 4.0]
    finally:
        product.run("make", "up", "EMBEDDED=1")
        product.wait_until_ready()


@pytest.mark.parametrize("service", ["triton", "triton-canary", "sidecar", "gateway"])
def test_docker_finds_each_server_healthy(product: Product, service: str) -> None:
    assert wait_until(lambda: product.is_healthy(service), HEALTHY_TIMEOUT_S)


def test_the_files_are_valid_for_the_compose_that_is_here(product: Product) -> None:
    product.compose(*BOTH_FILES, "config", "--quiet")


def test_the_other_file_gives_both_tritons_the_gpus(product: Product) -> None:
    config = yaml.safe_load(product.compose(*BOTH_FILES, "config"))
    given = {
        name: service["deploy"]["resources"]["reservations"]["devices"][0]["capabilities"]
        for name, service in config["services"].items()
        if "deploy" in service
    }
    assert given == {"triton": ["gpu"], "triton-canary": ["gpu"]}
