"""Evidence about a version: its files, and its answers to golden samples."""

import math

from contract.compare import Difference, compare
from contract.manifest import Manifest
from contract.samples import GoldenSample, Tensors
from sidecar.core.fleet import Server, ready_versions
from sidecar.core.release import Release
from sidecar.errors import Unproven
from sidecar.runtime.world import World


class Prover:
    """Each method returns what was proven in one sentence, or raises Unproven."""

    def __init__(self, world: World, *, query_timeout_s: float) -> None:
        self._world = world
        self._query_timeout_s = query_timeout_s

    async def files(self, release: Release) -> str:
        damage = await self._world.store.damage(release.model, release.version)
        if damage:
            raise Unproven(
                f"version {release.version} differs from its manifest: {'; '.join(damage)}; "
                "publish it again under a new number"
            )
        return "every file is as the manifest says"

    async def golden(self, release: Release) -> str:
        """All golden samples compared, then each warm-up sample as an ordinary request.

        A warm-up sample that fails as a request would fail as `model_warmup` too, where it
        can kill the server.
        """
        model, version = release.model, release.version
        samples = await self._world.store.golden(model, version)
        errors = [await self._answer(Server.CANARY, model, version, s) for s in samples]
        requests = await self._world.store.warmup_requests(model, version)
        for request in requests:
            await self._query(Server.CANARY, model, version, request)
        return (
            f"{len(samples)} golden samples within tolerance (largest scaled error "
            f"{max(errors):.1e}), {len(requests)} warm-up samples answered"
        )

    async def probe(self, server: Server, model: str, version: int) -> None:
        """The health query before traffic: the first golden sample, answered rightly."""
        samples = await self._world.store.golden(model, version)
        await self._answer(server, model, version, samples[0])

    async def _answer(
        self, server: Server, model: str, version: int, sample: GoldenSample
    ) -> float:
        answer = await self._query(server, model, version, sample.inputs)
        manifest = await self._world.store.manifest(model, version)
        differences = compare(answer, sample.outputs, manifest.tolerances)
        wrong = [difference.reason for difference in differences if difference.reason]
        if wrong and await self._is_told_by(differences, server, manifest):
            raise Unproven(
                f"version {version} answers a golden sample wrongly: {'; '.join(wrong)}; its "
                "file computes something else than its PyTorch model did: export it again"
            )
        return max(difference.scaled_error for difference in differences)

    async def _is_told_by(
        self, differences: list[Difference], server: Server, manifest: Manifest
    ) -> bool:
        """Whether the version is at fault for answers that differ.

        Of an ensemble whose models were released since it was built they may differ, as long as
        names, types, shapes and NaN are as before. Its steps go to the newest version served.
        """
        if any(math.isinf(difference.scaled_error) for difference in differences):
            return True
        index = await self._world.servers[server].index()
        return all(
            built_with == max(ready_versions(index.get(part, {})), default=None)
            for part, built_with in manifest.composing.items()
        )

    async def _query(self, server: Server, model: str, version: int, inputs: Tensors) -> Tensors:
        answer = await self._world.servers[server].infer(
            model, version, inputs, timeout_s=self._query_timeout_s
        )
        if server is Server.SERVING:
            self._world.board.tally.sent(model, version)
        return answer
