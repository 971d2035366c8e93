"""Settings: one YAML file, parsed once, passed down. No module reads the environment."""

import ipaddress
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml
from cronsim import CronSim, CronSimError
from pydantic import Field, ValidationError, model_validator

from contract.bytes import Size
from contract.files import reason_of
from contract.intent import Seconds, Tier
from contract.strict import Document, Strict, Written, explain
from sidecar.core.fleet import Profile, Server
from sidecar.core.memory import GIB
from sidecar.core.policy import OnDrift, Policy, Recycle
from sidecar.core.ranking import Ranking
from sidecar.errors import InvalidSettings

OWN_REPLICA = "own"
RESERVED_NAMES = ("activator",)

Address = Annotated[str, Written(r"^[^/\s]+:\d+$", "host:port, such as 127.0.0.1:8001")]
"""`host:port`."""
Url = Annotated[str, Written(r"^https?://", "a URL, such as http://127.0.0.1:8080")]
CallerName = Annotated[
    str,
    Written(
        r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$",
        "up to 64 letters, digits and any of ._@- behind the first, such as ann",
    ),
]


def _twice(names: list[str]) -> list[str]:
    return sorted({name for name in names if names.count(name) > 1})


class ServerSettings(Strict):
    """One Triton: where it listens, and the repository folder that it reads."""

    grpc: Address
    """`host:port` of its gRPC endpoint."""
    http: Address | None = None
    """`host:port` of its HTTP endpoint; needed where there is a gateway."""
    metrics: Url | None = None
    """URL of its metrics, such as http://127.0.0.1:8002/metrics; memory is read there when the
    server has GPUs or runs on another machine."""
    gpu_uuids: tuple[str, ...] = ()
    """Of its GPUs, in their order; needed where it has several."""
    stage: Path
    """Its --model-repository as this process sees it. Written by this process only."""
    admin_key_file: Path | None = None
    """File with the key of --grpc-restricted-protocol=model-repository:admin-key=KEY."""

    @property
    def is_local(self) -> bool:
        """Whether its processes are on this machine."""
        return is_loopback(self.grpc.rpartition(":")[0])


class Role(StrEnum):
    """What a token may do: `viewer` reads, `operator` also changes."""

    VIEWER = "viewer"
    OPERATOR = "operator"


class TokenSettings(Strict):
    """One bearer token; `name` is the actor in operations and in the audit."""

    name: CallerName
    """Of who has the token."""
    role: Role
    """`viewer` reads, `operator` also changes."""
    file: Path
    """With the token alone in it."""


class ApiSettings(Strict):
    """The REST API for operators. It wants a token unless `host` is a loopback address."""

    host: str = "127.0.0.1"
    """The address to bind; `0.0.0.0` is all of this machine."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8080
    """0 takes one that is free."""
    token_file: Path | None = None
    """Short for one token with the name and the role `operator`."""
    tokens: tuple[TokenSettings, ...] = ()
    """Of the people and programs that may ask."""

    @model_validator(mode="after")
    def _told_apart(self) -> Self:
        if twice := _twice([token.name for token in self.all_tokens]):
            raise ValueError(f"two tokens are named {', '.join(twice)}; give each its own name")
        return self

    @property
    def all_tokens(self) -> tuple[TokenSettings, ...]:
        if self.token_file is None:
            return self.tokens
        short = TokenSettings(name="operator", role=Role.OPERATOR, file=self.token_file)
        return (short, *self.tokens)

    @property
    def is_loopback(self) -> bool:
        return is_loopback(self.host)


class ModelSettings(Strict):
    """What overrides the store's word on one model; see `contract.intent.Intent`."""

    tier: Tier = Tier.AUTO
    pin: bool = False
    """Once loaded it is neither evicted nor unloaded when idle."""
    priority: int = 0
    """It is never evicted for a model of a lower priority."""
    idle_timeout_s: Seconds | None = None
    """Unloaded after so long without a request; without it, cost and price decide."""
    acceptable_cold_start_s: Seconds = 0.0
    """Waiting up to here costs nothing."""


DeviceName = Annotated[str, Written(r"^(cpu|gpu:\d+)$", "cpu, or gpu:0 for the first GPU")]


class ScheduleSettings(Strict):
    """A profile that holds from each time of `cron` on, in the time zone `zone`."""

    profile: Profile
    """The one that holds from then on."""
    cron: str
    """Five fields: minute, hour, day of month, month, day of week; such as `0 8 * * 1-5`."""
    zone: str = "UTC"
    """A time zone such as `Europe/Berlin`."""

    @model_validator(mode="after")
    def _is_known(self) -> Self:
        try:
            CronSim(self.cron, datetime.now(ZoneInfo(self.zone)))
        except (CronSimError, ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError(
                f"{self.cron!r} in zone {self.zone!r}: {error}; five fields such as "
                "'0 8 * * 1-5', and a zone such as Europe/Berlin"
            ) from error
        return self


class PolicySettings(Strict):
    """What decides which models stay loaded; see `sidecar.core.policy.Policy`."""

    budgets: dict[DeviceName, Size] = Field(default_factory=dict)
    """Memory for models per device, such as `cpu: 12GiB`; without one, all there is."""
    headroom: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of each budget that stays free."""
    price: Annotated[float, Field(ge=0)] = 3.0
    """Cold-start seconds that saving one GiB-hour may cost; 0 keeps all that fits."""
    ranking: Ranking = Ranking.VALUE
    """Whom to evict, and whom to load ahead."""
    prewarm: bool = True
    """Whether models are loaded ahead of their requests."""
    cpu_while_full: bool = False
    """Serve on the CPU what the GPU has no room for, and move it when there is some. Moving in
    place has not been tried on a GPU."""
    page_cache: Size | None = None
    """Host memory for files of models that are likely next; without it half of what is free."""
    canary_apart: bool = False
    """Whether canary is on a machine or on GPUs of its own: what it holds takes nothing from the
    budgets then."""
    on_drift: OnDrift = OnDrift.REPAIR
    """Whether what somebody else loads or unloads is put right, or stands."""
    recycle: Recycle = Recycle.PROPOSE
    """What follows when failed loads have kept `leak_limit` of the server's memory: `do` ends
    the server, which its supervisor must start again."""
    leak_limit: Size = GIB
    profile: Profile = Profile.PRODUCTION
    schedule: tuple[ScheduleSettings, ...] = ()
    """Profiles by the time of day; `profile` holds until the first of them."""


class TlsSettings(Strict):
    """PEM files as Envoy sees them; a renewed certificate is taken up by itself."""

    certificate: Path
    """With the chain of those that vouch for it behind it."""
    key: Path
    """The private key of the certificate."""


class ApiKeySettings(Strict):
    """One client of the gateway, and the file with its key."""

    client: CallerName
    """Its name in traces and counts."""
    file: Path
    """With the key alone in it."""


class ActivatorSettings(Strict):
    """Where Envoy reaches this process. What asks here is answered without an API key."""

    http: Address = "127.0.0.1:8090"
    grpc: Address = "127.0.0.1:8091"


class ReplicaSettings(Strict):
    """Another Triton behind the same gateway, with a sidecar of its own."""

    name: Annotated[
        str,
        Written(
            r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
            "up to 64 letters, digits and any of ._- behind the first, such as b",
        ),
    ]
    """In routes, counts and events."""
    http: Address
    """`host:port` of its Triton's HTTP endpoint."""
    grpc: Address
    """`host:port` of its Triton's gRPC endpoint."""
    api: Url
    """Base URL of its sidecar's REST API."""
    token_file: Path | None = None
    """File with a token of an operator there."""


class GatewaySettings(Strict):
    """The Envoy between clients and Triton."""

    folder: Path
    """Where this process writes what Envoy reads."""
    seen_folder: Path | None = None
    """The same folder as Envoy sees it, where that is another path."""
    http: Address = "0.0.0.0:8000"
    """Where clients connect over HTTP."""
    grpc: Address = "0.0.0.0:8001"
    """Where they connect over gRPC."""
    admin: Address = "127.0.0.1:9901"
    """Envoy's own port for operators: whoever reaches it can end it."""
    activator: ActivatorSettings = ActivatorSettings()
    longest_hold_s: Annotated[float, Field(gt=0)] = 120.0
    """How long a request is held while its model is loaded, unless its client allows less."""
    most_waiting: Annotated[int, Field(ge=1)] = 10_000
    """Requests held at the same time."""
    most_waiting_per_model: Annotated[int, Field(ge=1)] = 2_000
    """Of one model."""
    largest_request: Size = GIB
    """Larger ones are refused with 413; of each in flight there is a copy in Envoy's memory."""
    memory: Size = 4 * GIB
    """Above nine tenths of it Envoy refuses requests with 503."""
    longest_drain_s: Annotated[float, Field(ge=0)] = 60.0
    """How long open gRPC streams keep a model that is to be unloaded."""
    replicas: tuple[ReplicaSettings, ...] = ()
    """Those besides this sidecar's own Triton, which is called `own`."""
    tls: TlsSettings | None = None
    api_keys: tuple[ApiKeySettings, ...] = ()
    """Clients show theirs as `x-api-key`, or as bearer token; without any, all are let in."""

    @model_validator(mode="after")
    def _is_closed(self) -> Self:
        for name in ("http", "grpc", "admin"):
            host, _ = host_and_port(getattr(self, name))
            if not is_ip(host):
                raise ValueError(
                    f"{name} must be an IP address and a port, for Envoy binds it: not {host!r}; "
                    "127.0.0.1 is this machine, 0.0.0.0 all of its addresses"
                )
        if not is_loopback(self.admin.rpartition(":")[0]):
            raise ValueError(
                f"admin is {self.admin}, and whoever reaches that port can end Envoy; use a "
                "loopback address such as 127.0.0.1:9901"
            )
        if twice := _twice([key.client for key in self.api_keys]):
            raise ValueError(f"two API keys are of {', '.join(twice)}; give each client one")
        names = [OWN_REPLICA, *RESERVED_NAMES, *(replica.name for replica in self.replicas)]
        if twice := _twice(names):
            raise ValueError(
                f"a replica cannot be named {', '.join(twice)}, which is taken; name it otherwise"
            )
        return self


class Settings(Document):
    """Everything the sidecar can be told. Paths are relative to the settings file's folder."""

    store: Path
    """The generator's output; must be readable by Triton at the same relative place."""
    state: Path
    """SQLite file with what must survive a restart."""
    servers: dict[Server, ServerSettings]
    """`serving` takes traffic. Without `canary`, versions are proven on `serving`, as shadows of
    their models."""
    api: ApiSettings = ApiSettings()
    models: dict[str, ModelSettings] = Field(default_factory=dict)
    """By name."""
    policy: PolicySettings = PolicySettings()
    gateway: GatewaySettings | None = None
    """Without it, clients speak to Triton itself, and ask for what is not loaded by `:ensure`."""
    soak_s: Annotated[float, Field(ge=0)] = 60.0
    """How long the old version stays loaded after a promotion; rollback is instant then."""
    load_timeout_s: Annotated[float, Field(gt=0)] = 600.0
    """Longest load; TensorRT engines can take minutes."""
    query_timeout_s: Annotated[float, Field(gt=0)] = 60.0
    """Longest probe or golden inference."""
    parallel_loads: Annotated[int, Field(ge=1)] = 4
    """Loads in flight per server; at most half of its --model-load-thread-count."""
    interval_s: Annotated[float, Field(gt=0)] = 1.0
    """Longest time between two looks at the servers."""
    otlp_endpoint: Url | None = None
    """Base URL of an OpenTelemetry collector, such as `http://collector:4318`."""

    def as_policy(self) -> Policy:
        said = self.policy
        return Policy(
            soak_s=self.soak_s,
            parallel_loads=self.parallel_loads,
            budgets=said.budgets,
            headroom=said.headroom,
            price=said.price,
            ranking=said.ranking,
            prewarm=said.prewarm,
            cpu_while_full=said.cpu_while_full,
            page_cache_bytes=said.page_cache,
            canary_apart=said.canary_apart,
            on_drift=said.on_drift,
            recycle=said.recycle,
            leak_limit_bytes=said.leak_limit,
        )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if Server.SERVING not in self.servers:
            raise ValueError(
                "servers lacks serving: say which Triton takes traffic; a `canary` beside it is "
                "where versions are proven before"
            )
        stages = {settings.stage for settings in self.servers.values()}
        if len(stages) < len(self.servers):
            raise ValueError(
                "two servers share one stage; each Triton needs its own folder, and where there "
                "is one Triton only, leave `canary` out"
            )
        if self.gateway is not None and self.servers[Server.SERVING].http is None:
            raise ValueError(
                "the gateway sends HTTP requests to servers.serving.http: say where that is, such "
                "as 127.0.0.1:8200"
            )
        if not self.api.is_loopback and not self.api.all_tokens:
            raise ValueError(
                f"api.host {self.api.host} is reachable from other machines; set "
                "api.token_file, or bind to 127.0.0.1"
            )
        return self


def load_settings(path: Path, *, port: int | None = None) -> Settings:
    """Read the settings file; a given `port` overrides `api.port`.

    Raises:
        InvalidSettings: the file is missing, no YAML or not UTF-8, or a key is unknown or
            impossible; names the file, the key and the remedy.
    """
    keys = read_keys(path)
    api = keys.get("api") or {}
    if port is not None and isinstance(api, dict):
        keys["api"] = {**api, "port": port}
    return settings_of(keys, path)


def settings_of(keys: Mapping[str, Any], path: Path) -> Settings:
    """What a file of these keys says at `path`. Raises InvalidSettings as `load_settings` does."""
    try:
        settings = Settings.model_validate(keys)
    except ValidationError as error:
        raise InvalidSettings(f"settings {path}: {explain(error, Settings)}") from error
    anchored = _anchored(settings, path.absolute().parent)
    store = anchored.store.resolve()
    for server, section in anchored.servers.items():
        stage = section.stage.resolve()
        if stage.is_relative_to(store) or store.is_relative_to(stage):
            raise InvalidSettings(
                f"settings {path}: stage of {server} and the store lie inside each other; the "
                "sidecar deletes in a stage what no server is to hold: take a folder of its own"
            )
    return anchored


def read_keys(path: Path) -> dict[str, Any]:
    """What a settings file holds, unchecked.

    Raises:
        InvalidSettings: the file is missing, no YAML or not UTF-8, or no mapping.
    """
    try:
        found = yaml.safe_load(path.read_text("utf-8"))
    except UnicodeDecodeError as error:
        raise InvalidSettings(f"settings {path} are not UTF-8: {error}; save them so") from error
    except OSError as error:
        raise InvalidSettings(
            f"settings {path} cannot be read: {reason_of(error)}; name yours with `--settings`; "
            "`pilotlight schema settings` has the keys of a new file"
        ) from error
    except yaml.YAMLError as error:
        raise InvalidSettings(f"settings {path} are no YAML: {error}") from error
    if not isinstance(found, dict):
        raise InvalidSettings(f"settings {path} must be a mapping with keys such as `store`")
    return found


def host_and_port(address: Address) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    return host == "localhost" or (is_ip(host) and ipaddress.ip_address(host).is_loopback)


def read_secret(path: Path) -> str:
    """The secret in a file, without the newline at its end.

    Raises:
        InvalidSettings: the file is missing, empty or no text.
    """
    try:
        secret = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSettings(
            f"secret file {path} cannot be read: {reason_of(error)}; write the secret into it, "
            "where this user may read it"
        ) from error
    if not secret:
        raise InvalidSettings(f"secret file {path} is empty; write the secret into it")
    return secret


def _anchored(settings: Settings, folder: Path) -> Settings:
    def anchor(path: Path | None) -> Path | None:
        return None if path is None else folder / path

    servers = {
        server: section.model_copy(
            update={
                "stage": anchor(section.stage),
                "admin_key_file": anchor(section.admin_key_file),
            }
        )
        for server, section in settings.servers.items()
    }
    tokens = tuple(
        token.model_copy(update={"file": anchor(token.file)}) for token in settings.api.tokens
    )
    api = settings.api.model_copy(
        update={"token_file": anchor(settings.api.token_file), "tokens": tokens}
    )
    gateway = settings.gateway
    if gateway is not None:
        keys = tuple(key.model_copy(update={"file": anchor(key.file)}) for key in gateway.api_keys)
        replicas = tuple(
            replica.model_copy(update={"token_file": anchor(replica.token_file)})
            for replica in gateway.replicas
        )
        gateway = gateway.model_copy(
            update={"folder": anchor(gateway.folder), "api_keys": keys, "replicas": replicas}
        )
    update = {
        "gateway": gateway,
        "store": anchor(settings.store),
        "state": anchor(settings.state),
        "servers": servers,
        "api": api,
    }
    return settings.model_copy(update=update)
