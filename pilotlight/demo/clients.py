"""Requests over gRPC and HTTP, and traffic that never pauses."""

import contextlib
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

import httpx2
import numpy as np
from tritonclient import grpc as triton_grpc
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from contract.samples import Tensors

TIMEOUT_S = 20.0


class RequestFailed(Exception):
    """A request was not answered with outputs."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Which version answered, with what, and how long it took from the client's side."""

    version: int
    outputs: Tensors
    seconds: float


class Client(Protocol):
    def infer(self, model: str, inputs: Tensors) -> Answer: ...

    def close(self) -> None: ...


class GrpcClient:
    """The user's view over gRPC: no version named."""

    def __init__(self, address: str) -> None:
        self._client = triton_grpc.InferenceServerClient(address)
        with contextlib.suppress(InferenceServerException):
            # A user's first request is not the one that opens the connection.
            self._client.is_server_live(client_timeout=TIMEOUT_S)

    def infer(self, model: str, inputs: Tensors) -> Answer:
        tensors = []
        for name, array in inputs.items():
            tensor = triton_grpc.InferInput(
                name, list(array.shape), np_to_triton_dtype(array.dtype)
            )
            tensor.set_data_from_numpy(array)
            tensors.append(tensor)
        began_s = time.perf_counter()
        try:
            result = self._client.infer(model, tensors, client_timeout=TIMEOUT_S)
        except InferenceServerException as error:
            raise RequestFailed(str(error)) from error
        seconds = time.perf_counter() - began_s
        response = result.get_response()
        outputs = {output.name: result.as_numpy(output.name) for output in response.outputs}
        return Answer(int(response.model_version), outputs, seconds)

    def close(self) -> None:
        self._client.close()


class HttpClient:
    """The user's view over HTTP, KServe v2 with JSON tensors."""

    def __init__(self, port: int) -> None:
        self._client = httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=TIMEOUT_S)

    def infer(self, model: str, inputs: Tensors) -> Answer:
        body = {
            "inputs": [
                {
                    "name": name,
                    "shape": list(array.shape),
                    "datatype": np_to_triton_dtype(array.dtype),
                    "data": array.ravel().tolist(),
                }
                for name, array in inputs.items()
            ]
        }
        began_s = time.perf_counter()
        try:
            answer = self._client.post(f"/v2/models/{model}/infer", json=body)
            content: dict[str, Any] = answer.raise_for_status().json()
        except httpx2.HTTPError as error:
            raise RequestFailed(str(error)) from error
        outputs = {
            output["name"]: np.array(output["data"]).reshape(output["shape"])
            for output in content["outputs"]
        }
        return Answer(int(content["model_version"]), outputs, time.perf_counter() - began_s)

    def close(self) -> None:
        self._client.close()


def steady_ms(client: Client, model: str, inputs: Tensors, requests: int = 50) -> float:
    """Median latency of requests in a row, milliseconds."""
    return 1000 * statistics.median(client.infer(model, inputs).seconds for _ in range(requests))


@dataclass(frozen=True, slots=True)
class Seen:
    """One request of the traffic; `at_s` is when its answer came (monotonic)."""

    at_s: float
    version: int | None
    error: str | None


class Traffic:
    """Clients that send one request after another to a model, until the block ends."""

    def __init__(
        self, clients: Mapping[str, Callable[[], Client]], model: str, inputs: Tensors
    ) -> None:
        self._model = model
        self._inputs = inputs
        self._stopping = threading.Event()
        self._seen: list[Seen] = []
        self._threads = [
            threading.Thread(target=self._send, args=(connect,), name=name, daemon=True)
            for name, connect in clients.items()
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _send(self, connect: Callable[[], Client]) -> None:
        client = connect()
        try:
            while not self._stopping.is_set():
                try:
                    version, error = client.infer(self._model, self._inputs).version, None
                except RequestFailed as failed:
                    version, error = None, str(failed)
                # list.append is atomic, and the list is read only by copying it.
                self._seen.append(Seen(time.monotonic(), version, error))
        finally:
            client.close()

    @property
    def seen(self) -> list[Seen]:
        return list(self._seen)

    @property
    def failed(self) -> list[str]:
        return [one.error for one in self.seen if one.error is not None]

    @property
    def by_version(self) -> Counter[int]:
        return Counter(one.version for one in self.seen if one.version is not None)

    def wait_for(self, version: int, *, since_s: float, timeout_s: float) -> float:
        """When every client's latest answer after `since_s` first came from `version`.

        Returns the time of the last answer by another version, or `since_s` if there is none.

        Raises:
            TimeoutError: other versions still answer after `timeout_s`.
        """
        deadline_s = time.monotonic() + timeout_s
        enough = 3 * len(self._threads)
        while time.monotonic() < deadline_s:
            later = [one for one in self.seen if one.at_s > since_s and one.version is not None]
            tail = later[-enough:]
            if len(tail) == enough and all(one.version == version for one in tail):
                others = [one.at_s for one in later if one.version != version]
                return max(others, default=since_s)
            time.sleep(0.002)
        raise TimeoutError(f"version {version} does not answer all traffic after {timeout_s:g} s")
