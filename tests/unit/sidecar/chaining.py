"""A fake Triton that serves ensembles, as TRITON was seen to do (`tests/e2e/test_ensemble.py`)."""

import asyncio
from collections.abc import Iterable
from functools import partial
from typing import Any

from contract.config import ModelConfig
from contract.samples import Tensors
from sidecar.core.fleet import Server
from sidecar.errors import Refused
from tests.fakes.meter import FakeMeter
from tests.fakes.triton import FakeTriton, _Loaded, _Model
from tests.unit.sidecar.rig import HELD_BYTES, INFER_S, Rig


class ChainingTriton(FakeTriton):
    """An ensemble needs its models loaded, asks their newest versions and goes down with any.

    `torn` are ensembles that somebody took down that way; the real one would load missing models
    from the stage, where a sidecar has none that it has not loaded.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.torn: list[str] = []

    async def _created(
        self, name: str, model: _Model, config: ModelConfig, versions: frozenset[int]
    ) -> dict[int, _Loaded]:
        steps = [step.model_name for step in config.ensemble_scheduling.step]
        if not steps:
            return await super()._created(name, model, config, versions)
        self._fail_without(name, steps)
        await asyncio.sleep(self.load_s)
        self._fail_without(name, steps)
        fresh = {}
        for version in versions:
            with self._memory.loading(self._name, name, version) as copy:
                fresh[version] = _Loaded(partial(self._chained, steps), copy, 0)
        return fresh

    def _fail_without(self, name: str, steps: list[str]) -> None:
        for step in steps:
            if not self.ready(step):
                raise Refused(
                    f"load failed for model '{name}': ensemble '{name}' depends on '{step}' which "
                    "has no loaded version"
                )

    def _chained(self, steps: list[str], inputs: Tensors) -> Tensors:
        for step in steps:
            part = self._models[step]
            inputs = {"x": part.loaded[max(part.ready)].compute(inputs)["y"]}
        return {"y": inputs["x"]}

    def _begin_unload(self, name: str, model: _Model, versions: Iterable[int]) -> None:
        super()._begin_unload(name, model, versions)
        for outer, found in self._models.items():
            is_part = found.config is not None and name in [
                step.model_name for step in found.config.ensemble_scheduling.step
            ]
            if is_part and found.ready and not model.ready:
                self.torn.append(outer)
                super()._begin_unload(outer, found, found.ready)


def give_chaining(rig: Rig, *ensembles: str) -> None:
    """Let a rig that was not started yet serve ensembles, which hold nothing themselves."""
    rig.meter = FakeMeter(bytes_of=lambda model, _: 0 if model in ensembles else HELD_BYTES)
    rig.tritons = {
        server: ChainingTriton(rig.root / server, name=server, infer_s=INFER_S, memory=rig.meter)
        for server in Server
    }


def torn(rig: Rig) -> list[str]:
    return [name for triton in rig.tritons.values() for name in triton.torn]  # type: ignore[attr-defined]
