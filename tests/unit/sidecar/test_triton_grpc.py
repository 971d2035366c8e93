"""What Triton answers a look at all models with, when one of them leaves meanwhile.

Its text is that of a real server under thirty models that come and go.
"""

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from sidecar.adapters.triton_grpc import MOST_LOOKS, TritonGrpc
from sidecar.errors import Refused

LEFT = "Request for unknown model: 'gone' version 1 is not at ready state"


class Between(service_pb2_grpc.GRPCInferenceServiceServicer):
    """A server where a model leaves between the list and the question, so many times."""

    times = 0

    async def ModelStatistics(  # noqa: N802
        self, request: Any, context: grpc.aio.ServicerContext[Any, Any]
    ) -> Any:
        self.times -= 1
        if self.times >= 0:
            await context.abort(grpc.StatusCode.UNAVAILABLE, LEFT)
        stays = service_pb2.ModelStatistics(name="stays", version="1")
        stays.inference_stats.success.count = 3
        return service_pb2.ModelStatisticsResponse(model_stats=[stays])


@pytest.fixture
async def between() -> AsyncIterator[tuple[Between, TritonGrpc]]:
    servicer, server = Between(), grpc.aio.server()
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with TritonGrpc(name="serving", url=f"127.0.0.1:{port}", admin_key=None) as triton:
        yield servicer, triton
    await server.stop(grace=None)


async def test_a_model_that_leaves_meanwhile_is_no_reason_to_know_nothing_of_the_others(
    between: tuple[Between, TritonGrpc],
) -> None:
    servicer, triton = between
    servicer.times = MOST_LOOKS - 1

    assert await triton.requests_served() == {"stays": {1: 3}}


async def test_a_server_that_never_says_is_not_asked_for_ever(
    between: tuple[Between, TritonGrpc],
) -> None:
    servicer, triton = between
    servicer.times = MOST_LOOKS

    with pytest.raises(Refused, match="not at ready state"):
        await triton.requests_served()
