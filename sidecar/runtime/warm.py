"""Warm-up of a loaded version by ordinary requests, until its latency is steady."""

import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from contract.manifest import Manifest, ShapeCost
from contract.samples import Tensors
from sidecar.core.fleet import Server
from sidecar.core.steady import DEFAULT_RULE, Curve, SteadyRule
from sidecar.runtime.world import World


class Warmer:
    """Gentle with a server that takes traffic: one request at a time."""

    def __init__(
        self, world: World, *, query_timeout_s: float, rule: SteadyRule = DEFAULT_RULE
    ) -> None:
        self._world = world
        self._query_timeout_s = query_timeout_s
        self._rule = rule

    async def warm(self, server: Server, model: str, version: int) -> tuple[Curve, ...]:
        """A curve per warm-up sample, in their order: the largest shape first.

        A shape that settled after an earlier load is done as soon as it is as fast again. One
        that does not settle within the rule's bounds has a curve that is not steady.

        Raises:
            ServerError: the server refused a sample, or did not answer.
            ContractError: the samples cannot be read.
        """
        requests = await self._world.store.warmup_requests(model, version)
        shapes = shapes_of(await self._world.store.manifest(model, version), requests)
        learned = self._world.board.learned.get((model, version))
        known_ms = {curve.shape: curve.steady_ms for curve in (learned.curves if learned else ())}

        async def infer(request: Tensors) -> None:
            await self._world.servers[server].infer(
                model, version, request, timeout_s=self._query_timeout_s
            )
            if server is Server.SERVING:
                self._world.board.tally.sent(model, version)

        return tuple(
            [
                await self._settle(partial(infer, request), shape, known_ms.get(shape))
                for request, shape in zip(requests, shapes, strict=True)
            ]
        )

    async def _settle(
        self, infer: Callable[[], Awaitable[None]], shape: str, known_ms: float | None
    ) -> Curve:
        began_s = ended_s = time.monotonic()
        latencies_ms: list[float] = []
        steady = False
        while not steady and not self._rule.is_exhausted(
            runs=len(latencies_ms), seconds=ended_s - began_s
        ):
            sent_s = time.monotonic()
            await infer()
            ended_s = time.monotonic()
            latencies_ms.append((ended_s - sent_s) * 1e3)
            steady = self._rule.is_steady(latencies_ms) or (
                known_ms is not None and self._rule.is_back(latencies_ms, known_ms)
            )
        return self._rule.curve(shape, latencies_ms, seconds=ended_s - began_s, steady=steady)


def shapes_of(manifest: Manifest, requests: Sequence[Tensors]) -> list[str]:
    """The generator's names for the shapes; those of the tensors where it measured others."""
    measured = manifest.cost.shapes
    if len(measured) == len(requests):
        return [_of_cost(cost) for cost in measured]
    return [_of_tensors(request) for request in requests]


def _of_cost(cost: ShapeCost) -> str:
    return ", ".join(f"{name} {size}" for name, size in {"batch": cost.batch, **cost.dims}.items())


def _of_tensors(request: Tensors) -> str:
    return ", ".join(f"{name} {list(array.shape)}" for name, array in request.items())
