"""What the runtime needs from the world.

Each port has a real adapter and, where speed needs it, a fake that passes the same suite.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from contract.samples import GoldenSample, Tensors
from sidecar.core.events import Event
from sidecar.core.fleet import StoredModel, VersionState
from sidecar.core.wanted import Placement


class ModelServer(Protocol):
    """One Triton in explicit mode.

    Every method raises ServerLost when there is no answer and Refused with Triton's own
    text when it answers with an error.
    """

    async def check(self) -> None:
        """Whether the server is alive and lets itself be driven.

        Raises:
            NotExplicit: its model control mode is not explicit.
        """

    async def index(self) -> Mapping[str, Mapping[int, VersionState]]:
        """State of each version that was ever loaded; models never loaded map to nothing."""

    async def load(self, model: str, *, timeout_s: float) -> None:
        """Load by the staged config. OK proves nothing: verify by index and probe.

        Raises:
            ServerLost: also when `timeout_s` passes; the load then goes on in the server.
        """

    async def unload(self, model: str) -> None:
        """Begin to unload; it is done when the index says so."""

    async def infer(
        self, model: str, version: int, inputs: Tensors, *, timeout_s: float
    ) -> Tensors:
        """One inference by explicit version; arrays carry the batch dimension."""


class Stage(Protocol):
    """The repository folder that one Triton reads; this process is its only writer."""

    async def read(self) -> Mapping[str, str]:
        """Text of each model's staged config."""

    async def write(self, model: str, placement: Placement) -> None:
        """Put a placement there: links to its versions, warm-up data, then the config.

        The config's mtime grows strictly, so that the next load acts. Folders of versions
        that are not placed are unlinked.
        """

    async def clear(self, model: str) -> None:
        """Remove a model's folder; nothing of it may be loaded."""


class ModelStore(Protocol):
    """The generator's output, read-only."""

    async def scan(self) -> tuple[Mapping[str, StoredModel], tuple[str, ...]]:
        """All readable models, and a sentence for each thing that is not."""

    async def golden(self, model: str, version: int) -> Sequence[GoldenSample]:
        """Raises InvalidArtifact (of the contract) when missing or unreadable."""

    async def warmup_requests(self, model: str, version: int) -> Sequence[Tensors]:
        """The version's warm-up samples as ordinary requests, batch dimension included."""

    async def damage(self, model: str, version: int) -> Sequence[str]:
        """What differs between the version's files and its manifest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """One recorded object. `revision` changes with every write of any key, and only grows."""

    key: str
    value: str
    revision: int


class StateStore(Protocol):
    """Recorded objects, each changed by compare-and-swap on its own; no transactions.

    Every method raises StateUnavailable when the store cannot be read or written.
    """

    async def get(self, key: str) -> Stored | None: ...

    async def scan(self, prefix: str) -> Sequence[Stored]:
        """All objects whose key begins with `prefix`, by key."""

    async def put(self, key: str, value: str, *, expect: int | None) -> Stored:
        """Write if the object is still as `expect` says: its revision, or None for absent.

        Raises:
            StateConflict: it is not.
        """

    async def delete(self, key: str, *, expect: int) -> None:
        """Raises StateConflict when the object has another revision, or is gone."""

    def watch(self) -> AsyncIterator[int]:
        """Yields the newest revision after each change; several changes may be one."""


class Journal(Protocol):
    """The append-only audit."""

    async def append(self, event: Event, at_s: float) -> None: ...
