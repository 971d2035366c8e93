"""Devices that hold models, and what was measured on them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

Device = str
"""`cpu` for the memory of the server's machine, `gpu:0` and so on for its GPUs."""

CPU: Device = "cpu"
GIB = 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One device, measured at one time.

    `used_bytes` is what all processes together use of `capacity_bytes`. `server_bytes` is
    what the server's own processes use; None when that cannot be told apart. `by_model`
    holds the models that have processes of their own (Python-based backends).
    """

    capacity_bytes: int
    used_bytes: int
    server_bytes: int | None = None
    by_model: Mapping[str, int] = field(default_factory=dict)
