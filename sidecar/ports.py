"""What the runtime needs from the world.

Each port has a real adapter and, where speed needs it, a fake that passes the same suite.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from contract.manifest import Manifest
from contract.samples import GoldenSample, Tensors
from sidecar.core.activation import Heat
from sidecar.core.events import Event
from sidecar.core.fleet import About, StoredModel, VersionState
from sidecar.core.memory import Device, Reading
from sidecar.core.recording import Recorded
from sidecar.core.replicas import Announcement
from sidecar.core.routing import Routes
from sidecar.core.traffic import Traffic
from sidecar.core.trial import Served
from sidecar.core.wanted import Placement


class ModelServer(Protocol):
    """One Triton in explicit mode.

    Every method raises ServerLost when there is no answer and Refused with Triton's own
    text when it answers with an error.
    """

    async def check(self) -> About:
        """Whether the server is alive and lets itself be driven, and what it says of itself.

        Raises:
            NotExplicit: its model control mode is not explicit.
            LockedOut: it wants an admin key, which is missing or wrong.
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

    async def requests_served(self) -> Mapping[str, Mapping[int, int]]:
        """Requests that succeeded since each loaded version was loaded, warm-up included.

        One call however many models are loaded. A reload starts again from zero.
        """

    async def served(self, model: str) -> Mapping[int, Served]:
        """Of each loaded version of one model, as `requests_served`, and those that failed.

        A request that does not fit the model's signature is not counted at all, and which of
        the others have failed is the backend's word: Python ones count all as succeeded.
        Raises Refused when no version is loaded.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What a Triton that reads the `folder` of the stage lists as a model of this `name`.

    Where it does not see the `store` from there, its index is an error. `of_store` is False while
    there is no store to lead to.
    """

    name: str
    folder: str
    store: str
    of_store: bool


class Stage(Protocol):
    """The repository folder that one Triton reads; this process is its only writer.

    Every method raises StageUnusable when the folder cannot be read or written.
    """

    async def read(self) -> Mapping[str, str]:
        """Text of each model's staged config."""

    async def write(self, model: str, placement: Placement) -> None:
        """Put a placement there: links to its versions, warm-up data, then the config.

        The config's mtime grows strictly, so that the next load acts. Folders of versions
        that are not placed are unlinked. Raises InvalidArtifact (of the contract) when what it
        takes from the store is missing or unreadable.
        """

    async def clear(self, model: str) -> None:
        """Remove a model's folder; nothing of it may be loaded."""

    async def mark(self) -> Mark:
        """Put a link to the store among the models; says that there is room for more, too."""

    async def unmark(self) -> None:
        """Take the mark away: an index with one that leads nowhere is an error for everybody."""


class ModelStore(Protocol):
    """The generator's output, read-only.

    Where the system does not let something be read, InvalidArtifact is ArtifactUnreadable.
    """

    async def scan(self) -> tuple[Mapping[str, StoredModel], tuple[str, ...]]:
        """All readable models, and a sentence for each thing that is not."""

    async def known(self) -> tuple[Mapping[str, StoredModel], tuple[str, ...]]:
        """As the last scan found it: scanning a large store again takes a while."""

    async def manifest(self, model: str, version: int) -> Manifest:
        """Raises InvalidArtifact (of the contract) when missing or unreadable."""

    async def golden(self, model: str, version: int) -> Sequence[GoldenSample]:
        """Raises InvalidArtifact (of the contract) when missing or unreadable."""

    async def warmup_requests(self, model: str, version: int) -> Sequence[Tensors]:
        """The version's warm-up samples as ordinary requests, batch dimension included."""

    async def damage(self, model: str, version: int) -> Sequence[str]:
        """What differs between the version's files and its manifest."""


class MemoryMeter(Protocol):
    """Memory of the machine or the GPUs that one Triton uses."""

    async def read(self) -> Mapping[Device, Reading]:
        """What can be measured now; a device that cannot be measured is absent.

        Raises:
            MeterFailed: nothing can be measured; says what was tried.
        """


class ServerProcess(Protocol):
    """The process of a Triton that somebody supervises."""

    async def end(self) -> None:
        """Ask it to end in an orderly way; its supervisor starts it again.

        Raises:
            ServerLost: it is not there, or not ours to end.
        """


class PageCache(Protocol):
    """The operating system's cache of a version's files, on the machine of the store.

    Every method raises InvalidArtifact (of the contract) when the version or a file of it is
    missing or unreadable.
    """

    async def read_ahead(self, model: str, version: int) -> int:
        """Bring the version's files into the page cache; returns their bytes."""

    async def resident_bytes(self, model: str, version: int) -> int:
        """How much of the version's files is in the page cache now."""


class Peer(Protocol):
    """The sidecar of another replica behind the same gateway, and its Triton.

    `look` and `ensure` raise PeerLost when the sidecar does not answer.
    """

    async def look(self, routed: str) -> Announcement:
        """What it has; tells it the `revision` of its models that the gateway routes."""

    async def ensure(self, model: str, *, timeout_s: float) -> Heat:
        """Return when its Triton answers for the model. Raises RequestRefused."""

    async def serves(self, model: str) -> bool:
        """Whether its Triton has the model, asked past its sidecar."""


class Gateway(Protocol):
    """The data plane between clients and servers."""

    async def apply(self, routes: Routes) -> None:
        """Send requests so; returns when it does.

        Raises:
            GatewayLost: it does not answer. What it was told waits for it.
            GatewayRefused: it found a mistake, and goes on as before.
        """

    async def models(self, replica: str) -> frozenset[str]:
        """Those that it sends to a replica, by what it was told last, maybe by another process."""

    async def traffic(self) -> Mapping[str, Traffic]:
        """By model, what has been answered since it started.

        Raises:
            GatewayLost: it does not answer.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """One recorded object. `revision` changes with every write of any key, and only grows."""

    key: str
    value: str
    revision: int


def folder_of(key: str) -> str:
    """The first part of a key: `release/` of `release/m`."""
    return key[: key.find("/") + 1]


class StateStore(Protocol):
    """Recorded objects, each changed by compare-and-swap on its own; no transactions.

    Every method raises StateUnavailable when the store cannot be read or written; `problem` is
    why the last write failed, else None.
    """

    @property
    def problem(self) -> str | None: ...

    async def touch(self) -> None:
        """Write without a change of any object, to see whether that can be done again."""

    async def get(self, key: str) -> Stored | None: ...

    async def scan(self, prefix: str) -> Sequence[Stored]:
        """All objects whose key begins with `prefix`, by key."""

    async def changes(self, folder: str) -> int:
        """Counts the changes of objects in a folder such as `release/` since this was opened."""

    async def put(self, key: str, value: str, *, expect: int | None) -> Stored:
        """Write if the object is still as `expect` says: its revision, or None for absent.

        Raises:
            StateConflict: it is not.
        """

    async def delete(self, key: str, *, expect: int) -> None:
        """Raises StateConflict when the object has another revision, or is gone."""

    def watch(self) -> AsyncIterator[int]:
        """Yields the newest revision after each change; several changes may be one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One row of the audit. `id` only grows, and is never used again."""

    id: int
    at_s: float
    event: Event


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which entries: those that are equal in all that is given, `since_s` <= at < `until_s`."""

    model: str | None = None
    actor: str | None = None
    name: str | None = None
    since_s: float | None = None
    until_s: float | None = None


EVERYTHING = Filter()


class Journal(Protocol):
    """The append-only audit. An event's actor is the `actor` of its detail."""

    async def append(self, event: Event, at_s: float) -> int:
        """Returns the new entry's id."""

    async def read(
        self, *, after: int, limit: int, matching: Filter = EVERYTHING
    ) -> Sequence[Entry]:
        """The first `limit` entries with a larger id than `after`, by id."""

    async def newest_id(self) -> int:
        """Id of the entry that was appended last; 0 before the first."""


class Recordings(Protocol):
    """Requests of clients, for the comparison of two versions. What does not fit is forgotten.

    Every method raises StateUnavailable when they cannot be read or written; `problem` is why the
    last write failed, else None.
    """

    @property
    def problem(self) -> str | None: ...

    async def add(self, model: str, inputs: Tensors, *, most: int) -> None:
        """Keep one more, and of all at most the newest `most`, and `MOST_BYTES` together."""

    async def read(self, model: str) -> Sequence[Tensors]:
        """The oldest first. What is damaged is dropped."""

    async def forget(self, model: str, *, all_but: int = 0) -> None:
        """Of all keep only the newest `all_but`."""

    async def recorded(self, model: str) -> Recorded:
        """How much there is."""
