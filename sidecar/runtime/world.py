"""The ports of one sidecar, together."""

from collections.abc import Mapping
from dataclasses import dataclass

from sidecar.core.fleet import Server
from sidecar.ports import MemoryMeter, ModelServer, ModelStore, PageCache, ServerProcess, Stage
from sidecar.runtime.activate import Waiting
from sidecar.runtime.board import Board
from sidecar.runtime.records import Records
from sidecar.runtime.route import Router
from sidecar.runtime.telemetry import Telemetry


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    servers: Mapping[Server, ModelServer]
    stages: Mapping[Server, Stage]
    store: ModelStore
    process: ServerProcess
    meter: MemoryMeter
    page_cache: PageCache
    records: Records
    board: Board
    waiting: Waiting
    router: Router
    telemetry: Telemetry
