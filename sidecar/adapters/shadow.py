"""A canary without a server of its own: shadow models `m--v<n>` on the serving Triton.

    <stage>/
        m/                          what traffic meets
        m--v3/                      m on canary, since version 3 came there
            3 -> ../../<store>/m/3
            config.pbtxt            as on a canary of its own, but for the name in it

To the rest of the sidecar there are two servers with two stages, as ever. Each is a part of the
one Triton, and neither sees what is the other's.
"""

import asyncio
import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from contract.layout import CONFIG, Store, VersionFolder
from contract.samples import Tensors
from sidecar.adapters.model_store import Scan, StoreFolder
from sidecar.adapters.stage import StageFolder, config_text, guarded
from sidecar.core.fleet import About, Server, VersionState
from sidecar.core.memory import Device, Reading
from sidecar.core.trial import Served
from sidecar.core.wanted import Placement
from sidecar.ports import Mark, MemoryMeter, ModelServer, Stage

T = TypeVar("T")
NameOf = Callable[[str], str]
ModelOf = Callable[[str], str | None]

_SHADOW = re.compile(r"(.+)--v\d+")


def shadow_name(model: str, version: int) -> str:
    return f"{model}--v{version}"


def shadowed(name: str) -> str | None:
    """The model that a shadow of this name is of; None when no shadow is named so."""
    found = _SHADOW.fullmatch(name)
    return found[1] if found else None


def unshadowed(name: str) -> str | None:
    return None if _SHADOW.fullmatch(name) else name


class ShadowStage:
    """A `ports.Stage` of the shadows in a stage folder.

    A model has one shadow at a time. It keeps its name until it is cleared, even if another
    version takes its place: Triton lists no folder that is gone, whatever it still has loaded.
    """

    def __init__(self, root: Path, store: Store) -> None:
        self._root = root
        self._folder = StageFolder(root, _StoreOfShadows(store.root))
        self._names: dict[str, str] = {}
        self._alone = asyncio.Lock()

    @property
    def is_empty(self) -> bool:
        """As it was read last."""
        return not self._names

    def name_of(self, model: str) -> str:
        """Of its shadow; one that nothing has if there is none."""
        return self._names.get(model, shadow_name(model, 0))

    async def read(self) -> Mapping[str, str]:
        async with self._alone:
            self._names = await asyncio.to_thread(self._find)
            return await asyncio.to_thread(self._read)

    async def write(self, model: str, placement: Placement) -> None:
        async with self._alone:
            name = self._names.setdefault(model, shadow_name(model, placement.lead))
            config = _renamed(placement.config, model, name)
            await self._folder.write(name, replace(placement, config=config))

    async def mark(self) -> Mark:
        return await self._folder.mark()

    async def unmark(self) -> None:
        await self._folder.unmark()

    async def clear(self, model: str) -> None:
        async with self._alone:
            await self._folder.clear(self.name_of(model))
            self._names.pop(model, None)

    def _find(self) -> dict[str, str]:
        with guarded(self._root, "read"), suppress(FileNotFoundError):
            with os.scandir(self._root) as entries:
                names = sorted(entry.name for entry in entries if entry.is_dir())
            return {model: name for name in names if (model := shadowed(name)) is not None}
        return {}

    def _read(self) -> Mapping[str, str]:
        with guarded(self._root, "read"):
            return {
                model: _renamed(_text(self._root / name / CONFIG), name, model)
                for model, name in self._names.items()
            }


class StageBesideShadows:
    """A `ports.Stage` of all but the shadows in a stage folder."""

    def __init__(self, folder: Stage) -> None:
        self._folder = folder

    async def read(self) -> Mapping[str, str]:
        return _translated(await self._folder.read(), unshadowed)

    async def write(self, model: str, placement: Placement) -> None:
        await self._folder.write(model, placement)

    async def clear(self, model: str) -> None:
        await self._folder.clear(model)

    async def mark(self) -> Mark:
        return await self._folder.mark()

    async def unmark(self) -> None:
        await self._folder.unmark()


class ServerPart:
    """A `ports.ModelServer`: those models of another one for which `model_of` gives a name."""

    def __init__(self, server: ModelServer, *, name_of: NameOf, model_of: ModelOf) -> None:
        self._server = server
        self._name_of = name_of
        self._model_of = model_of

    async def check(self) -> About:
        return await self._server.check()

    async def index(self) -> Mapping[str, Mapping[int, VersionState]]:
        return _translated(await self._server.index(), self._model_of)

    async def load(self, model: str, *, timeout_s: float) -> None:
        await self._server.load(self._name_of(model), timeout_s=timeout_s)

    async def unload(self, model: str) -> None:
        await self._server.unload(self._name_of(model))

    async def infer(
        self, model: str, version: int, inputs: Tensors, *, timeout_s: float
    ) -> Tensors:
        return await self._server.infer(self._name_of(model), version, inputs, timeout_s=timeout_s)

    async def requests_served(self) -> Mapping[str, Mapping[int, int]]:
        return _translated(await self._server.requests_served(), self._model_of)

    async def served(self, model: str) -> Mapping[int, Served]:
        return await self._server.served(self._name_of(model))


class ShadowServer(ServerPart):
    """The shadows of a server, as if they were models of a canary."""

    def __init__(self, server: ModelServer, stage: ShadowStage) -> None:
        super().__init__(server, name_of=stage.name_of, model_of=shadowed)
        self._stage = stage

    async def index(self) -> Mapping[str, Mapping[int, VersionState]]:
        """The server is not asked for the thousands that it may have when none is a shadow."""
        return {} if self._stage.is_empty else await super().index()


@dataclass(frozen=True, slots=True, kw_only=True)
class TwoInOne:
    """Both servers on one Triton, and both stages in its folder."""

    servers: Mapping[Server, ModelServer]
    stages: Mapping[Server, Stage]

    @classmethod
    def on(cls, server: ModelServer, stage: Path, store: Store) -> "TwoInOne":
        shadows = ShadowStage(stage, store)
        return cls(
            servers={
                Server.SERVING: ServerPart(server, name_of=str, model_of=unshadowed),
                Server.CANARY: ShadowServer(server, shadows),
            },
            stages={
                Server.SERVING: StageBesideShadows(StageFolder(stage, store)),
                Server.CANARY: shadows,
            },
        )


class StoreBesideShadows(StoreFolder):
    """A `ports.ModelStore` that leaves out models which could not be told from a shadow."""

    async def scan(self) -> Scan:
        return _without_shadows(await super().scan())

    async def known(self) -> Scan:
        return _without_shadows(await super().known())


class ShadowMeter:
    """A `ports.MemoryMeter` of the shadows alone.

    What the server holds as a whole says nothing of them, with the models of traffic in it.
    """

    def __init__(self, meter: MemoryMeter) -> None:
        self._meter = meter

    async def read(self) -> Mapping[Device, Reading]:
        return {
            device: replace(
                reading,
                server_bytes=None,
                by_model=_translated(reading.by_model, shadowed),
                alone_by_model=_translated(reading.alone_by_model, shadowed),
            )
            for device, reading in (await self._meter.read()).items()
        }


class _StoreOfShadows(Store):
    """The versions of a shadow are those of its model."""

    def version(self, model: str, version: int) -> VersionFolder:
        return super().version(shadowed(model) or model, version)


def _translated(by_name: Mapping[str, T], model_of: ModelOf) -> dict[str, T]:
    return {model: what for name, what in by_name.items() if (model := model_of(name)) is not None}


def _renamed(config: str, before: str, after: str) -> str:
    """The name is the first field of a config as we write it."""
    return config.replace(f'name: "{before}"', f'name: "{after}"', 1)


def _text(path: Path) -> str:
    try:
        return config_text(path)
    except FileNotFoundError:
        return ""


def _without_shadows(found: Scan) -> Scan:
    models, problems = found
    taken = [name for name in models if shadowed(name)]
    if not taken:
        return found
    refused = (
        f"{name} is left out: on a server without a canary beside it, that is the name of a shadow "
        f"of {shadowed(name)}; rename the model, or give the sidecar a canary in `servers`"
        for name in taken
    )
    left = {name: stored for name, stored in models.items() if name not in taken}
    return left, (*problems, *refused)
