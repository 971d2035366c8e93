"""Several Tritons behind one gateway, each with a sidecar and a set of models of its own."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from sidecar.core.fleet import Snapshot
from sidecar.core.ledger import ledger
from sidecar.core.policy import Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """What a sidecar says of its Triton to the one that drives the gateway.

    `models` maps each that it answers for to its versions. `joined` is whether its hot models
    are warm and it is not draining. `free_bytes` is what its largest device can still be given.
    """

    models: Mapping[str, tuple[int, ...]]
    stateful: frozenset[str]
    joined: bool
    free_bytes: int


def revision(models: frozenset[str]) -> str:
    """Short for a set of models, the same on both sides."""
    return hashlib.sha256("\n".join(sorted(models)).encode()).hexdigest()[:16]


def free_bytes(snapshot: Snapshot, policy: Policy) -> int:
    accounts = ledger(snapshot, policy).values()
    return max((account.free_bytes for account in accounts), default=0)
