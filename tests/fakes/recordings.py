"""Recorded requests in memory."""

from collections import defaultdict
from collections.abc import Sequence

from contract.samples import Tensors
from sidecar.core.recording import Recorded, surplus
from sidecar.errors import StateUnavailable


class FakeRecordings:
    """A `ports.Recordings`; `problem`, while set, is why they cannot be read or written."""

    def __init__(self) -> None:
        self.kept: defaultdict[str, list[Tensors]] = defaultdict(list)
        self.problem: str | None = None

    async def add(self, model: str, inputs: Tensors, *, most: int) -> None:
        self._must_work()
        self.kept[model].append({name: array.copy() for name, array in inputs.items()})
        self._trim(model, most)

    async def read(self, model: str) -> Sequence[Tensors]:
        self._must_work()
        return list(self.kept[model])

    async def forget(self, model: str, *, all_but: int = 0) -> None:
        self._must_work()
        self._trim(model, all_but)

    async def recorded(self, model: str) -> Recorded:
        self._must_work()
        sizes = self._sizes(model)
        return Recorded(requests=len(sizes), bytes=sum(sizes))

    def _trim(self, model: str, most: int) -> None:
        del self.kept[model][: surplus(self._sizes(model), most)]

    def _sizes(self, model: str) -> list[int]:
        return [sum(array.nbytes for array in each.values()) for each in self.kept[model]]

    def _must_work(self) -> None:
        if self.problem is not None:
            raise StateUnavailable(self.problem)
