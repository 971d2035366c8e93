"""Asks serving and canary the same requests of clients, and compares what they answer."""

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from contract.errors import ContractError
from contract.samples import Tensors
from sidecar.core.agreement import Answer, findings
from sidecar.core.comparison import Comparison, Missed
from sidecar.core.fleet import Server, Snapshot
from sidecar.errors import ServerError
from sidecar.runtime.backlog import Backlog, Decode, Sample
from sidecar.runtime.world import World

LARGEST_BYTES = 8 * 2**20
MOST_WAITING = 64
MOST_WAITING_BYTES = 64 * 2**20

Versions = Mapping[Server, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sample(Sample):
    versions: Versions


class Comparer(Backlog[_Sample]):
    """While entered, compares one request after the other, so that clients hardly feel it.

    `look` is the last look at everything: it says which versions are compared.
    """

    def __init__(
        self, world: World, look: Callable[[], Snapshot | None], *, query_timeout_s: float
    ) -> None:
        super().__init__(
            self._compare,
            most=MOST_WAITING,
            most_bytes=MOST_WAITING_BYTES,
            crashed="comparison_crashed",
        )
        self._world = world
        self._look = look
        self._query_timeout_s = query_timeout_s
        self._comparisons: dict[str, Comparison] = {}

    def offer(self, model: str, body: bytes, decode: Decode) -> None:
        """A client's request for inference, to be compared if there is something to compare.

        It is read by `decode`, which raises ContractError, when its turn comes. One too many or
        too large is dropped.
        """
        versions = self._versions(model)
        if versions is None:
            return
        if not self._is_about(model, versions):
            self._comparisons[model] = Comparison.between(versions)
        if len(body) > LARGEST_BYTES:
            self._miss(model, Missed.TOO_LARGE)
        elif not self.put(_Sample(model=model, versions=versions, body=body, decode=decode)):
            self._miss(model, Missed.TOO_MANY)

    def comparison(self, model: str) -> Comparison | None:
        """Of the last two versions that were compared; None before there were any."""
        return self._comparisons.get(model)

    def _versions(self, model: str) -> Versions | None:
        """Of the recorded one and of canary's; None when they are not both there, or the same."""
        seen = self._look()
        if seen is None:
            return None
        recorded = seen.serving.get(model)
        proven = seen.servers[Server.CANARY].answers(model) - {recorded}
        if recorded not in seen.servers[Server.SERVING].answers(model) or not proven:
            return None
        return {Server.SERVING: recorded, Server.CANARY: max(proven)}

    def _is_about(self, model: str, versions: Versions) -> bool:
        found = self._comparisons.get(model)
        return found is not None and found.versions == versions

    def _miss(self, model: str, missed: Missed, unreadable: str | None = None) -> None:
        self._comparisons[model] = self._comparisons[model].without(missed, unreadable)

    async def _compare(self, sample: _Sample) -> None:
        model, versions = sample.model, sample.versions
        if not self._is_held(sample):
            return
        try:
            inputs = await asyncio.to_thread(sample.decode, sample.body)
        except ContractError as error:
            self._miss(model, Missed.UNREADABLE, str(error))
            return
        manifest = await self._world.store.manifest(model, versions[Server.CANARY])
        # In turn each is the first, and pays for what the second finds in caches.
        order = random.sample(list(Server), len(Server))
        answers = {server: await self._ask(server, sample, inputs) for server in order}
        failed = any(answer.failure is not None for answer in answers.values())
        if failed and not self._is_held(sample):
            return
        found = await asyncio.to_thread(
            findings, answers[Server.SERVING], answers[Server.CANARY], manifest.tolerances
        )
        if self._is_about(model, versions):
            self._comparisons[model] = self._comparisons[model].with_(answers, found)

    def _is_held(self, sample: _Sample) -> bool:
        """Whether both versions are there still: what is just being unloaded answers nothing."""
        board = self._world.board
        return self._is_about(sample.model, sample.versions) and all(
            (server, sample.model) not in board.busy
            and (held := board.verified(server).get(sample.model)) is not None
            and version in held.versions
            for server, version in sample.versions.items()
        )

    async def _ask(self, server: Server, sample: _Sample, inputs: Tensors) -> Answer:
        model, version = sample.model, sample.versions[server]
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        try:
            outputs = await self._world.servers[server].infer(
                model, version, inputs, timeout_s=self._query_timeout_s
            )
        except ServerError as error:
            return Answer(latency_ms=(loop.time() - began_s) * 1e3, failure=str(error))
        if server is Server.SERVING:
            self._world.board.tally.sent(model, version)
        return Answer(latency_ms=(loop.time() - began_s) * 1e3, outputs=outputs)
