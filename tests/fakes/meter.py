"""One device's memory, shared by fake servers, and the meter that reads it."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from sidecar.core.memory import CPU, Device, Reading
from sidecar.errors import MeterFailed, Refused
from tests.fakes.faults import parse_fault

ENDLESS = 2**60

BytesOf = Callable[[str, int], int]


def nothing(model: str, version: int) -> int:
    return 0


@dataclass(slots=True, eq=False)
class Copy:
    """A version in memory, or on its way there: `bytes` is its peak until it is loaded."""

    server: str
    model: str
    version: int
    bytes: int


class FakeMeter:
    """A `ports.MemoryMeter`. Give it to each `FakeTriton` that shares the device.

    `bytes_of` says what a loaded version holds, `peak_of` what it takes while it loads (the
    same unless given), all together `shared_bytes` more, of which each holds an equal share;
    `foreign_bytes` is what others use. With `sees_processes` it tells apart
    what `server` holds, per model too, as `ProcessMeter` does; without, no more than
    `MetricsMeter`. It fails by `faults` such as `"measure: refused 'no metrics' x2"`.
    """

    def __init__(
        self,
        *,
        capacity_bytes: int = ENDLESS,
        foreign_bytes: int = 0,
        shared_bytes: int = 0,
        bytes_of: BytesOf = nothing,
        peak_of: BytesOf | None = None,
        device: Device = CPU,
        server: str = "serving",
        sees_processes: bool = True,
        faults: Iterable[str] = (),
    ) -> None:
        self.capacity_bytes = capacity_bytes
        self.foreign_bytes = foreign_bytes
        self._shared_bytes = shared_bytes
        self._bytes_of = bytes_of
        self._peak_of = peak_of or bytes_of
        self._device = device
        self._server = server
        self._sees_processes = sees_processes
        self._faults = [parse_fault(line) for line in faults]
        self._copies: list[Copy] = []

    def add_faults(self, *lines: str) -> None:
        self._faults += [parse_fault(line) for line in lines]

    async def read(self) -> Mapping[Device, Reading]:
        for fault in self._faults:
            if fault.concerns("measure", None, None):
                fault.times -= 1
                raise MeterFailed(fault.text)
        return {self._device: self._reading()}

    def _reading(self) -> Reading:
        capacity, used = self.capacity_bytes, self.used_bytes
        if not self._sees_processes:
            return Reading(capacity_bytes=capacity, used_bytes=used)
        by_model, alone_by_model = Counter[str](), Counter[str]()
        for copy in self._copies:
            if copy.server == self._server:
                alone_by_model[copy.model] += copy.bytes
                by_model[copy.model] += copy.bytes + self._shared_bytes // len(self._copies)
        return Reading(
            capacity_bytes=capacity,
            used_bytes=used,
            server_bytes=sum(by_model.values()),
            by_model=by_model,
            alone_by_model=alone_by_model,
        )

    @property
    def used_bytes(self) -> int:
        shared_bytes = self._shared_bytes if self._copies else 0
        return self.foreign_bytes + shared_bytes + sum(copy.bytes for copy in self._copies)

    @contextmanager
    def loading(self, server: str, model: str, version: int) -> Iterator[Copy]:
        """The copy that a load makes: it stays if the body ends well.

        Raises:
            Refused: there is no room for the peak; with ONNX Runtime's text.
        """
        copy = Copy(server, model, version, self._peak_of(model, version))
        if self.used_bytes + copy.bytes > self.capacity_bytes:
            raise Refused(
                "Internal: onnx runtime error 6: Exception during initialization: "
                "onnxruntime/core/framework/bfc_arena.cc:376 void* "
                "onnxruntime::BFCArena::AllocateRawInternal(size_t, bool, onnxruntime::Stream*) "
                f"Failed to allocate memory for requested buffer of size {copy.bytes}"
            )
        self._copies.append(copy)
        try:
            yield copy
        except BaseException:
            self.free(copy)
            raise
        copy.bytes = self._bytes_of(model, version)

    def free(self, copy: Copy) -> None:
        """Once more does no harm: a dying server frees all, and then what it was at."""
        if copy in self._copies:
            self._copies.remove(copy)

    def free_all(self, server: str) -> None:
        self._copies = [copy for copy in self._copies if copy.server != server]
