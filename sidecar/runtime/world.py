"""The ports of one sidecar, together."""

from collections.abc import Mapping
from dataclasses import dataclass

from sidecar.core.fleet import Server
from sidecar.ports import (
    MemoryMeter,
    ModelServer,
    ModelStore,
    PageCache,
    Recordings,
    ServerProcess,
    Stage,
)
from sidecar.runtime.activate import Waiting
from sidecar.runtime.board import Board
from sidecar.runtime.records import Records
from sidecar.runtime.route import Router
from sidecar.runtime.telemetry import Telemetry


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """With `is_shadowed`, what are two servers to the others is one process.

    With `sees_gpus` the meter tells all GPUs that the serving server has.
    """

    servers: Mapping[Server, ModelServer]
    stages: Mapping[Server, Stage]
    store: ModelStore
    process: ServerProcess
    meter: MemoryMeter
    page_cache: PageCache
    recordings: Recordings
    records: Records
    board: Board
    waiting: Waiting
    router: Router
    telemetry: Telemetry
    is_shadowed: bool = False
    sees_gpus: bool = False
