"""Devices that hold models, and what was measured on them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from contract.bytes import format_bytes

Device = str
"""`cpu` for the memory of the server's machine, `gpu:0` and so on for its GPUs."""

CPU: Device = "cpu"
GIB = 2**30


def shortage(device: Device, needed_bytes: int, free_bytes: int, evictable_bytes: int) -> str:
    """What a model lacks, without the names of others."""
    return (
        f"needs {format_bytes(needed_bytes)} on {device}, where {format_bytes(free_bytes)} are "
        f"free and {format_bytes(evictable_bytes)} can be freed"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One device, measured at one time.

    `used_bytes` is what all processes together use of `capacity_bytes`. `server_bytes` is
    what the server's own processes use; None when that cannot be told apart. `by_model`
    holds the models that have processes of their own (Python-based backends). `alone_by_model` is
    the part of it that no other process has mapped: what comes free when the model goes, while
    its share of the rest falls to the others.
    """

    capacity_bytes: int
    used_bytes: int
    server_bytes: int | None = None
    by_model: Mapping[str, int] = field(default_factory=dict)
    alone_by_model: Mapping[str, int] = field(default_factory=dict)
