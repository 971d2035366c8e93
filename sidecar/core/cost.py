"""What a version costs to hold and to load: learned from real loads, declared before."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from contract.config import InstanceGroup, instance_groups, parse_config
from sidecar.core.fleet import StoredVersion
from sidecar.core.learned import Learned
from sidecar.core.memory import CPU, Device

READ_BYTES_PER_S = 0.8e9
"""Of a disk that nobody has measured yet (traces/README.md of the study behind POLICY.md)."""
FREE_SHARE = 0.05
"""Of an acceptable cold start, that still counts: between two free models the faster goes."""
ANY_GPU: Device = "gpu:0"
"""Where models that ask for any GPU count while none is known."""
NOTHING = Learned()


class Basis(StrEnum):
    """How bytes are known, best first."""

    MEASURED = "measured"
    LEARNED = "learned"
    DECLARED = "declared"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reload:
    """Parts of a cold start in turn, from the decision to load to the first good answer."""

    read_s: float
    load_s: float
    warm_up_s: float

    @property
    def seconds(self) -> float:
        return self.load_s + self.warm_up_s + self.read_s

    def then(self, later: "Reload") -> "Reload":
        return Reload(
            read_s=self.read_s + later.read_s,
            load_s=self.load_s + later.load_s,
            warm_up_s=self.warm_up_s + later.warm_up_s,
        )


def reload(stored: StoredVersion, known: Learned | None, *, cached: bool) -> Reload:
    """`cached`: the version's files are in the page cache now."""
    declared = stored.manifest.cost
    known = known or NOTHING
    read_s = declared.disk_bytes / READ_BYTES_PER_S if known.read_s is None else known.read_s
    return Reload(
        read_s=0.0 if cached else read_s,
        load_s=declared.load_s if known.load_s is None else known.load_s,
        warm_up_s=known.warm_up_s or 0.0,
    )


def counted_s(reload_s: float, acceptable_s: float) -> float:
    """Cold-start seconds that hurt, when `acceptable_s` of them do not."""
    return max(reload_s - acceptable_s, FREE_SHARE * reload_s)


def footprint(
    stored: StoredVersion, known: Learned | None, gpus: tuple[Device, ...], *, on_cpu: bool = False
) -> tuple[Mapping[Device, int], Basis]:
    """Bytes that a loaded version holds on each device, and how they are known.

    Declared: one copy of what instances share, and for each instance its memory after the
    largest warm-up shape. `on_cpu`: with one instance there, wherever it belongs.
    """
    cost = stored.manifest.cost
    learned = known.held_bytes if known else {}
    counts = {CPU: 1} if on_cpu else instances(stored.config, gpus)
    found = {
        device: learned.get(device, cost.shared_bytes + count * cost.peak_bytes)
        for device, count in counts.items()
    }
    is_learned = bool(found) and found.keys() <= learned.keys()
    return found, Basis.LEARNED if is_learned else Basis.DECLARED


def is_on_cpu(config: str, gpus: tuple[Device, ...]) -> bool:
    """Whether a config has all its instances on the CPU."""
    return instances(config, gpus).keys() == {CPU}


def can_go_to_cpu(config: str) -> bool:
    """Whether a backend runs its models on the CPU too; TensorRT's engines are for one GPU.

    An ensemble is nowhere; its models are.
    """
    parsed = parse_config(config, "the stored config")
    platform = f"{parsed.backend} {parsed.platform}"
    return not any(kind in platform for kind in ("tensorrt", "ensemble"))


def instances(config: str, gpus: tuple[Device, ...]) -> Mapping[Device, int]:
    """How many instances Triton makes of a model on each device, given the server's GPUs.

    Triton's rule: one instance per GPU when nothing else is said, on the CPU without GPUs. A GPU
    that is asked for counts also where it is not known: then Triton refuses the model, and takes no
    other device.
    """
    return _placed(instance_groups(config), gpus)


@lru_cache
def _placed(groups: tuple[InstanceGroup, ...], gpus: tuple[Device, ...]) -> Mapping[Device, int]:
    found: dict[Device, int] = {}
    for group in groups:
        named = tuple(f"gpu:{number}" for number in group.gpus)
        if group.on_cpu:
            devices: tuple[Device, ...] = (CPU,)
        else:
            devices = named or gpus or ((ANY_GPU,) if group.needs_gpu else (CPU,))
        for device in devices:
            found[device] = found.get(device, 0) + group.size
    return found or dict.fromkeys(gpus or (CPU,), 1)
