"""A page cache of a few versions, in memory."""

from contract.errors import InvalidArtifact
from tests.fakes.meter import BytesOf, nothing

ENDLESS = 2**60


class FakePageCache:
    """A `ports.PageCache`: whole versions, the one that was read longest ago is dropped first.

    A version that is larger than the cache does not stay. `reads` is what was read ahead, and
    `damaged` the versions that lack a file.
    """

    def __init__(self, *, bytes_of: BytesOf = nothing, limit_bytes: int = ENDLESS) -> None:
        self._bytes_of = bytes_of
        self._limit_bytes = limit_bytes
        self._resident: dict[tuple[str, int], int] = {}
        self.reads: list[tuple[str, int]] = []
        self.damaged: set[tuple[str, int]] = set()

    async def read_ahead(self, model: str, version: int) -> int:
        self._refuse_damaged(model, version)
        self.reads.append((model, version))
        read = self._bytes_of(model, version)
        self._resident.pop((model, version), None)
        self._resident[model, version] = read
        while sum(self._resident.values()) > self._limit_bytes:
            self.drop(*next(iter(self._resident)))
        return read

    async def resident_bytes(self, model: str, version: int) -> int:
        self._refuse_damaged(model, version)
        return self._resident.get((model, version), 0)

    def drop(self, model: str, version: int) -> None:
        """As the kernel does when others need the memory."""
        self._resident.pop((model, version), None)

    def _refuse_damaged(self, model: str, version: int) -> None:
        if (model, version) in self.damaged:
            raise InvalidArtifact(f"a file of {model} version {version} cannot be read: it is gone")
