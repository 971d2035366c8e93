"""Envoy's copies of requests, as the activator meets them: real servers, Triton's own messages."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import grpc
import httpx2
import numpy as np
import pytest
import pytest_asyncio
from tritonclient.grpc import service_pb2, service_pb2_grpc

from contract.errors import InvalidRequest
from contract.samples import Tensors
from sidecar.activator.serve import Activator
from sidecar.runtime.compare import LARGEST_BYTES, Decode
from tests.unit.sidecar.activated import ANY_PORT, PATIENCE_S, HandHold, NoSamples

INFER = "/v2/models/m/infer"
SAMPLE = {"x-pilotlight-sample": "1"}
JSON = b'{"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]}'
HEAD = (
    b'{"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", '
    b'"parameters": {"binary_data_size": 8}}]}'
)
RAW = np.float32([[1, 2]]).tobytes()
X = [[1.0, 2.0]]

pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    model: str
    body: bytes
    decode: Decode

    @property
    def tensors(self) -> Tensors:
        return self.decode(self.body)


class Offers:
    """`Samples` that are only remembered."""

    def __init__(self) -> None:
        self.all: list[Offer] = []

    def offer(self, model: str, body: bytes, decode: Decode) -> None:
        self.all.append(Offer(model=model, body=body, decode=decode))

    @property
    def only(self) -> Offer:
        (found,) = self.all
        return found


@pytest.fixture(scope="module")
def shared_offers() -> Offers:
    return Offers()


@pytest.fixture
def offers(shared_offers: Offers) -> Offers:
    shared_offers.all.clear()
    return shared_offers


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def activator(shared_hold: HandHold, shared_offers: Offers) -> AsyncIterator[Activator]:
    async with Activator(
        shared_hold,  # type: ignore[arg-type]
        shared_offers,
        http=ANY_PORT,
        grpc=ANY_PORT,
    ) as activator:
        yield activator


@pytest_asyncio.fixture(loop_scope="module")
async def client(activator: Activator) -> AsyncIterator[httpx2.AsyncClient]:
    host, port = activator.http
    address = f"http://{host}:{port}"
    async with httpx2.AsyncClient(base_url=address, headers=SAMPLE, timeout=PATIENCE_S) as client:
        yield client


@pytest_asyncio.fixture(loop_scope="module")
async def channel(activator: Activator) -> AsyncIterator[grpc.aio.Channel]:
    host, port = activator.grpc
    async with grpc.aio.insecure_channel(f"{host}:{port}") as channel:
        yield channel


@pytest.fixture
def triton(channel: grpc.aio.Channel) -> Any:
    return service_pb2_grpc.GRPCInferenceServiceStub(channel)


def request(model: str = "m") -> Any:
    found = service_pb2.ModelInferRequest(model_name=model, raw_input_contents=[RAW])
    found.inputs.add(name="x", datatype="FP32", shape=[1, 2])
    return found


METADATA = tuple(SAMPLE.items())


async def unary(channel: grpc.aio.Channel, method: str, message: bytes) -> None:
    """As Envoy sends it; that there is no message in the answer is no matter to it."""
    call = channel.stream_stream(f"/inference.GRPCInferenceService/{method}")(
        iter([message]), metadata=METADATA
    )
    assert [answer async for answer in call] == []
    assert await call.code() is grpc.StatusCode.OK


@pytest.mark.parametrize(
    ("body", "headers"),
    [(JSON, {}), (HEAD + RAW, {"inference-header-content-length": str(len(HEAD))})],
    ids=["json", "binary"],
)
async def test_a_copy_over_http_is_handed_over_and_answered_at_once(
    hold: HandHold,
    offers: Offers,
    client: httpx2.AsyncClient,
    body: bytes,
    headers: dict[str, str],
) -> None:
    answer = await client.post("/v2/models/%6D/versions/3/infer", content=body, headers=headers)

    assert (answer.status_code, answer.content) == (204, b"")
    assert offers.only.model == "m"
    assert offers.only.tensors["x"].tolist() == X
    assert hold.asked == []


async def test_a_copy_over_grpc_is_handed_over_and_answered_at_once(
    hold: HandHold, offers: Offers, channel: grpc.aio.Channel
) -> None:
    await unary(channel, "ModelInfer", request().SerializeToString())

    assert offers.only.model == "m"
    assert offers.only.tensors["x"].tolist() == X
    assert hold.asked == []


async def test_of_a_stream_the_first_message_is_handed_over(
    hold: HandHold, offers: Offers, channel: grpc.aio.Channel
) -> None:
    call = channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")(
        metadata=METADATA
    )
    await call.write(request().SerializeToString())

    assert [answer async for answer in call] == []

    assert offers.only.tensors["x"].tolist() == X
    assert hold.asked == []


async def test_a_body_in_parts_is_put_together(offers: Offers, client: httpx2.AsyncClient) -> None:
    async def parts() -> AsyncIterator[bytes]:
        for at in range(0, len(JSON), 7):
            yield JSON[at : at + 7]

    await client.post(INFER, content=parts())

    assert offers.only.body == JSON


async def test_of_a_body_that_is_too_large_no_more_is_kept_than_shows_it(
    offers: Offers, client: httpx2.AsyncClient
) -> None:
    answer = await client.post(INFER, content=bytes(3 * LARGEST_BYTES))

    assert answer.status_code == 204
    assert len(offers.only.body) == LARGEST_BYTES + 1


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/v2/models/m/generate", {}),
        ("/v2/models/m", {}),
        ("/v2/health/live", {}),
        (INFER, {"inference-header-content-length": "many"}),
    ],
)
async def test_a_copy_of_anything_else_is_thrown_away(
    hold: HandHold,
    offers: Offers,
    client: httpx2.AsyncClient,
    path: str,
    headers: dict[str, str],
) -> None:
    answer = await client.post(path, content=JSON, headers=headers)

    assert (answer.status_code, offers.all, hold.asked) == (204, [], [])


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("ModelMetadata", service_pb2.ModelMetadataRequest(name="m").SerializeToString()),
        ("ModelInfer", b"\x0a\x05m"),
    ],
)
async def test_a_copy_of_anything_else_is_thrown_away_over_grpc_too(
    hold: HandHold, offers: Offers, channel: grpc.aio.Channel, method: str, message: bytes
) -> None:
    await unary(channel, method, message)

    assert (offers.all, hold.asked) == ([], [])


async def test_a_compressed_copy_cannot_be_read(offers: Offers, client: httpx2.AsyncClient) -> None:
    await client.post(INFER, content=b"\x1f\x8b\x08", headers={"content-encoding": "gzip"})

    with pytest.raises(InvalidRequest):
        _ = offers.only.tensors


async def test_a_copy_whose_sender_goes_is_thrown_away(
    offers: Offers, activator: Activator, client: httpx2.AsyncClient
) -> None:
    _, writer = await asyncio.open_connection(*activator.http)
    head = f"POST {INFER} HTTP/1.1\r\nhost: x\r\nx-pilotlight-sample: 1\r\n"
    writer.write(f"{head}content-length: 99\r\n\r\nx".encode())
    writer.close()
    await writer.wait_closed()

    await client.post(INFER, content=JSON)

    assert offers.only.body == JSON


async def test_where_nothing_is_compared_a_copy_is_thrown_away(hold: HandHold) -> None:
    async with Activator(hold, NoSamples(), http=ANY_PORT, grpc=ANY_PORT) as activator:  # type: ignore[arg-type]
        host, port = activator.http
        address = f"http://{host}:{port}"
        async with httpx2.AsyncClient(base_url=address, timeout=PATIENCE_S) as client:
            assert (await client.post(INFER, content=JSON, headers=SAMPLE)).status_code == 204
    assert hold.asked == []
