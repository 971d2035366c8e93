"""The ports of one sidecar, together."""

from collections.abc import Mapping
from dataclasses import dataclass

from sidecar.core.fleet import Server
from sidecar.ports import ModelServer, ModelStore, Stage
from sidecar.runtime.board import Board
from sidecar.runtime.records import Records
from sidecar.runtime.telemetry import Telemetry


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    servers: Mapping[Server, ModelServer]
    stages: Mapping[Server, Stage]
    store: ModelStore
    records: Records
    board: Board
    telemetry: Telemetry
