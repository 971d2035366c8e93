"""Recorded requests as files.

    <root>/<model>/
        0000000000000042.request    one `ModelInferRequest` of Triton's gRPC protocol

A file is written as a whole, then renamed. They are of clients: nobody else may read them.
"""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import structlog
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2

from contract.dtypes import datatype_of
from contract.errors import ContractError
from contract.files import reason_of
from contract.kserve import from_grpc
from contract.samples import Tensors, warmup_bytes
from sidecar.adapters.exclusive import Exclusive
from sidecar.core.recording import Recorded, surplus
from sidecar.errors import StateUnavailable

T = TypeVar("T")
_DIGITS = 16
_SUFFIX = ".request"


class RecordingsFolder:
    """A `ports.Recordings`; this process is its only writer."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._exclusive = Exclusive()
        self._sizes: dict[str, dict[int, int]] = {}
        self.problem: str | None = None

    async def add(self, model: str, inputs: Tensors, *, most: int) -> None:
        await self._written(lambda: self._add(model, _message(model, inputs), most))

    async def read(self, model: str) -> Sequence[Tensors]:
        return await self._guarded(lambda: self._read(model))

    async def forget(self, model: str, *, all_but: int = 0) -> None:
        await self._written(lambda: self._trim(model, all_but))

    async def recorded(self, model: str) -> Recorded:
        return await self._guarded(lambda: self._recorded(model))

    async def _written(self, work: Callable[[], None]) -> None:
        try:
            await self._guarded(work)
        except StateUnavailable as error:
            self.problem = str(error)
            raise
        self.problem = None

    async def _guarded(self, work: Callable[[], T]) -> T:
        try:
            return await self._exclusive.run(work)
        except OSError as error:
            raise StateUnavailable(
                f"recorded requests in {self._root} cannot be read or written: "
                f"{reason_of(error)}; free its disk, or mend its permissions"
            ) from error

    def _add(self, model: str, message: bytes, most: int) -> None:
        sizes = self._known(model)
        number = max(sizes, default=0) + 1
        path = self._path(model, number)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = path.with_suffix(".new")
        fresh.write_bytes(message)
        fresh.replace(path)
        sizes[number] = len(message)
        self._trim(model, most)

    def _read(self, model: str) -> list[Tensors]:
        found = []
        for number in list(self._known(model)):
            path = self._path(model, number)
            try:
                found.append(from_grpc(path.read_bytes()))
            except (ContractError, FileNotFoundError) as error:
                structlog.get_logger("pilotlight").warning(
                    "recorded_request_dropped", path=str(path), reason=str(error)
                )
                self._remove(model, number)
        return found

    def _trim(self, model: str, most: int) -> None:
        sizes = self._known(model)
        for number in list(sizes)[: surplus(list(sizes.values()), most)]:
            self._remove(model, number)
        if not sizes:
            shutil.rmtree(self._root / model, ignore_errors=True)

    def _recorded(self, model: str) -> Recorded:
        sizes = self._known(model)
        return Recorded(requests=len(sizes), bytes=sum(sizes.values()))

    def _remove(self, model: str, number: int) -> None:
        self._path(model, number).unlink(missing_ok=True)
        del self._sizes[model][number]

    def _known(self, model: str) -> dict[int, int]:
        """Bytes by number, the oldest first; read from the disk once."""
        if model not in self._sizes:
            paths = sorted((self._root / model).glob(f"{'[0-9]' * _DIGITS}{_SUFFIX}"))
            self._sizes[model] = {int(path.stem): path.stat().st_size for path in paths}
        return self._sizes[model]

    def _path(self, model: str, number: int) -> Path:
        return self._root / model / f"{number:0{_DIGITS}d}{_SUFFIX}"


def _message(model: str, inputs: Tensors) -> bytes:
    contents = [_raw(array) for array in inputs.values()]
    request = service_pb2.ModelInferRequest(model_name=model, raw_input_contents=contents)
    for name, array in inputs.items():
        request.inputs.add(name=name, datatype=datatype_of(array), shape=array.shape)
    return bytes(request.SerializeToString())


def _raw(array: NDArray[np.generic]) -> bytes:
    """Row-major; tritonclient cannot write BYTES without an element."""
    return warmup_bytes(array) if array.size else b""
