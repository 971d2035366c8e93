"""Requests over gRPC and HTTP, and traffic that goes on."""

import contextlib
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

import grpc
import httpx2
import numpy as np
from tritonclient.grpc.service_pb2 import ModelInferRequest
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub
from tritonclient.utils import np_to_triton_dtype, triton_to_np_dtype

from contract.samples import Tensors

TIMEOUT_S = 60.0
"""However busy the machine is."""
WARMTH = "x-warmth"


class RequestFailed(Exception):
    """A request was not answered with outputs; `status` is that of HTTP, or gRPC's by name."""

    def __init__(self, status: str, text: str) -> None:
        self.status = status
        super().__init__(f"{status}: {text}")


@dataclass(frozen=True, slots=True)
class Answer:
    """Which version answered, with what, and how long it took from the client's side.

    `warmth` is what the gateway says of it: hit, cold or joined; empty without one.
    """

    version: int
    outputs: Tensors
    seconds: float
    warmth: str


class Client(Protocol):
    def infer(self, model: str, inputs: Tensors) -> Answer: ...

    def close(self) -> None: ...


class GrpcClient:
    """The user's view over gRPC: no version named.

    Over the protocol itself, because tritonclient does not show the metadata of an answer.
    """

    def __init__(self, address: str) -> None:
        self._channel = grpc.insecure_channel(address)
        self._infer = GRPCInferenceServiceStub(self._channel).ModelInfer
        with contextlib.suppress(grpc.FutureTimeoutError):
            # A user's first request is not the one that opens the connection.
            grpc.channel_ready_future(self._channel).result(TIMEOUT_S)

    def infer(self, model: str, inputs: Tensors) -> Answer:
        request = ModelInferRequest(model_name=model)
        for name, array in inputs.items():
            datatype = np_to_triton_dtype(array.dtype)
            request.inputs.add(name=name, datatype=datatype, shape=array.shape)
            request.raw_input_contents.append(array.tobytes())
        began_s = time.perf_counter()
        try:
            response, call = self._infer.with_call(request, timeout=TIMEOUT_S)
        except grpc.RpcError as error:
            raise RequestFailed(error.code().name, error.details() or "") from error
        seconds = time.perf_counter() - began_s
        outputs = {
            output.name: np.frombuffer(raw, triton_to_np_dtype(output.datatype)).reshape(
                output.shape
            )
            for output, raw in zip(response.outputs, response.raw_output_contents, strict=True)
        }
        warmth = dict(call.initial_metadata()).get(WARMTH, "")
        return Answer(int(response.model_version), outputs, seconds, warmth)

    def close(self) -> None:
        self._channel.close()


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
        except httpx2.HTTPError as error:
            raise RequestFailed("no answer", str(error)) from error
        seconds = time.perf_counter() - began_s
        if answer.is_error:
            raise RequestFailed(str(answer.status_code), answer.text.strip())
        content: dict[str, Any] = answer.json()
        outputs = {
            output["name"]: np.array(
                output["data"], triton_to_np_dtype(output["datatype"])
            ).reshape(output["shape"])
            for output in content["outputs"]
        }
        warmth = answer.headers.get(WARMTH, "")
        return Answer(int(content["model_version"]), outputs, seconds, warmth)

    def close(self) -> None:
        self._client.close()


def steady_ms(client: Client, model: str, inputs: Tensors, requests: int = 20) -> float:
    """Median latency of requests in a row, milliseconds."""
    return 1000 * statistics.median(client.infer(model, inputs).seconds for _ in range(requests))


@dataclass(frozen=True, slots=True)
class Seen:
    """One request of the traffic; `at_s` is when its answer came (monotonic)."""

    at_s: float
    seconds: float
    version: int | None
    error: str | None


class Traffic:
    """Clients that send one request after another to a model, until the block ends.

    `pause_s` is how long each rests between two.
    """

    def __init__(
        self,
        clients: Mapping[str, Callable[[], Client]],
        model: str,
        inputs: Tensors,
        *,
        pause_s: float = 0.0,
    ) -> None:
        self._model = model
        self._inputs = inputs
        self._pause_s = pause_s
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
            while not self._stopping.wait(self._pause_s):
                began_s = time.monotonic()
                try:
                    version, error = client.infer(self._model, self._inputs).version, None
                except RequestFailed as failed:
                    version, error = None, str(failed)
                # list.append is atomic, and the list is read only by copying it.
                ended_s = time.monotonic()
                self._seen.append(Seen(ended_s, ended_s - began_s, version, error))
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

    @property
    def longest_s(self) -> float:
        return max((one.seconds for one in self.seen), default=0.0)

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
