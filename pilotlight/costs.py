"""What the models of a store cost to hold and to load, as the generator measured it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from contract.config import instance_groups, read_config
from contract.errors import InvalidArtifact
from contract.layout import Store
from contract.manifest import Manifest, ShapeCost, WarmupPlan, read_manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCosts:
    """Of a model's newest version.

    Memory and seconds are of one instance, but for `held_bytes`, `serial_load_s` and
    `serial_load_cold_s`, which are of all `instances`; an ensemble has none. `largest` is the
    largest warm-up shape, `shapes` are all. None: not measured.
    """

    model: str
    version: int
    instances: int
    disk_bytes: int
    private_bytes: int
    further_private_bytes: int | None
    shared_bytes: int
    peak_bytes: int
    held_bytes: int
    load_s: float
    load_cold_s: float | None
    serial_load_s: float
    serial_load_cold_s: float | None
    warmup: WarmupPlan | None
    largest: ShapeCost | None
    shapes: tuple[ShapeCost, ...]

    @classmethod
    def of(cls, manifest: Manifest, instances: int) -> Self:
        """Only the first of several instances finds its files cold."""
        cost = manifest.cost
        others_s = max(0, instances - 1) * cost.load_s
        return cls(
            model=manifest.model,
            version=manifest.version,
            instances=instances,
            disk_bytes=cost.disk_bytes,
            private_bytes=cost.private_bytes,
            further_private_bytes=cost.further_private_bytes,
            shared_bytes=cost.shared_bytes,
            peak_bytes=cost.peak_bytes,
            held_bytes=cost.shared_bytes + instances * cost.peak_bytes,
            load_s=cost.load_s,
            load_cold_s=cost.load_cold_s,
            serial_load_s=cost.load_s + others_s,
            serial_load_cold_s=None if cost.load_cold_s is None else cost.load_cold_s + others_s,
            warmup=manifest.warmup,
            largest=cost.shapes[0] if cost.shapes else None,
            shapes=cost.shapes,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TotalCosts:
    """Of the newest versions of all models.

    The seconds are a sum, because ONNX Runtime's backend makes one session at a time in a whole
    Triton. `serial_load_cold_s` is None where one model's was not measured.
    """

    models: int
    instances: int
    disk_bytes: int
    held_bytes: int
    serial_load_s: float
    serial_load_cold_s: float | None

    @classmethod
    def of(cls, costs: Sequence[ModelCosts]) -> Self:
        cold = [each.serial_load_cold_s for each in costs]
        return cls(
            models=len(costs),
            instances=sum(each.instances for each in costs),
            disk_bytes=sum(each.disk_bytes for each in costs),
            held_bytes=sum(each.held_bytes for each in costs),
            serial_load_s=sum(each.serial_load_s for each in costs),
            serial_load_cold_s=None if None in cold else sum(filter(None, cold)),
        )


def read_costs(root: Path) -> list[ModelCosts]:
    """Of every model of a store, by name.

    Raises:
        InvalidArtifact: a manifest or a config cannot be read, or there is no model.
    """
    store = Store(root)
    costs = [_read(store, model) for model in store.models()]
    if not costs:
        raise InvalidArtifact(
            f"{root} has no model that Pilotlight built; name a store, or fill this one with "
            f"`pilotlight build models.yaml --store {root}`"
        )
    return costs


def _read(store: Store, model: str) -> ModelCosts:
    folder = store.version(model, store.versions(model)[-1])
    groups = instance_groups(read_config(folder.config))
    # Of groups on all GPUs of a machine the number is not known here: one GPU.
    instances = sum(group.size * max(1, len(group.gpus)) for group in groups)
    return ModelCosts.of(read_manifest(folder.manifest), instances)
