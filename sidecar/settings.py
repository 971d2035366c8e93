"""Settings: one YAML file, parsed once, passed down. No module reads the environment."""

import ipaddress
from pathlib import Path
from typing import Annotated, Self

import yaml
from pydantic import Field, ValidationError, model_validator

from contract.intent import Tier
from contract.strict import Strict, explain
from sidecar.core.fleet import Server
from sidecar.errors import InvalidSettings


class ServerSettings(Strict):
    """One Triton: where it listens, and the repository folder that it reads."""

    grpc: Annotated[str, Field(pattern=r"^[^/\s]+:\d+$")]
    """`host:port` of its gRPC endpoint."""
    stage: Path
    """Its --model-repository as this process sees it. Written by this process only."""
    admin_key_file: Path | None = None
    """File with the key of --grpc-restricted-protocol=model-repository:admin-key=KEY."""


class ApiSettings(Strict):
    """The REST API for operators."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8080
    token_file: Path | None = None
    """File with the bearer token; needed unless `host` is a loopback address."""

    @property
    def is_loopback(self) -> bool:
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


class ModelSettings(Strict):
    """What overrides the store's word on one model."""

    tier: Tier


class Settings(Strict):
    """Everything the sidecar can be told. Paths are relative to the settings file's folder."""

    store: Path
    """The generator's output; must be readable by Triton at the same relative place."""
    state: Path
    """SQLite file with what must survive a restart."""
    servers: dict[Server, ServerSettings]
    api: ApiSettings = ApiSettings()
    models: dict[str, ModelSettings] = Field(default_factory=dict)
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

    @model_validator(mode="after")
    def _complete(self) -> Self:
        missing = [server.value for server in Server if server not in self.servers]
        if missing:
            raise ValueError(
                f"servers lacks {', '.join(missing)}: a version is proven on `canary` before "
                "it meets `serving`, so both are needed"
            )
        stages = {settings.stage for settings in self.servers.values()}
        if len(stages) < len(self.servers):
            raise ValueError("two servers share one stage; each Triton needs its own folder")
        if not self.api.is_loopback and self.api.token_file is None:
            raise ValueError(
                f"api.host {self.api.host} is reachable from other machines; set "
                "api.token_file, or bind to 127.0.0.1"
            )
        return self


def load_settings(path: Path, *, port: int | None = None) -> Settings:
    """Read the settings file; a given `port` overrides `api.port`.

    Raises:
        InvalidSettings: the file is missing or no YAML, or a key is unknown or impossible;
            names the file, the key and the remedy.
    """
    try:
        raw = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise InvalidSettings(f"settings {path} cannot be read: {error}") from error
    if not isinstance(raw, dict):
        raise InvalidSettings(f"settings {path} must be a mapping with keys such as `store`")
    api = raw.get("api") or {}
    if port is not None and isinstance(api, dict):
        raw["api"] = {**api, "port": port}
    try:
        settings = Settings.model_validate(raw)
    except ValidationError as error:
        raise InvalidSettings(f"settings {path}: {explain(error)}") from error
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


def read_secret(path: Path | None) -> str | None:
    """The secret in a file, without the newline at its end.

    Raises:
        InvalidSettings: the file is missing or empty.
    """
    if path is None:
        return None
    try:
        secret = path.read_text().strip()
    except OSError as error:
        raise InvalidSettings(f"secret file cannot be read: {error}") from error
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
    api = settings.api.model_copy(update={"token_file": anchor(settings.api.token_file)})
    update = {
        "store": anchor(settings.store),
        "state": anchor(settings.state),
        "servers": servers,
        "api": api,
    }
    return settings.model_copy(update=update)
