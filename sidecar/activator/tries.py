"""What Envoy has done with a request before this try, as it says in a header of its own.

    own:0:0:0, activator:812:214:0, own:1430:561:120, activator:2207:790:120

One entry for each try, this one's last: whom it went to, milliseconds since the request came, and
bytes of heads sent and received in all tries before. Here the replica `own` was sent the request
twice, and died under it both times: nothing was received from it.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from sidecar.adapters.envoy.names import ACTIVATOR

_ENTRY = re.compile(r"(.+):(\d+):(\d+):(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """Of a request: how long ago it came, how long it was held, how many servers died under it."""

    age_s: float = 0.0
    held_s: float = 0.0
    losses: int = 0


NONE = Past()


class _Try(NamedTuple):
    whom: str
    began_ms: int
    sent: int
    received: int


def past(entries: Iterable[str]) -> Past:
    """`NONE` for a request that did not come through Envoy."""
    tries = [
        _Try(found[1], *map(int, found.group(2, 3, 4)))
        for entry in entries
        if (found := _ENTRY.fullmatch(entry))
    ]
    if not tries:
        return NONE
    before = list(pairwise(tries))
    held_ms = sum(
        after.began_ms - each.began_ms for each, after in before if each.whom == ACTIVATOR
    )
    return Past(
        age_s=tries[-1].began_ms / 1000,
        held_s=held_ms / 1000,
        losses=sum(_is_lost(each, after) for each, after in before),
    )


def _is_lost(each: _Try, after: _Try) -> bool:
    """A replica was sent the request, and its answer did not begin."""
    return each.whom != ACTIVATOR and each.sent < after.sent and each.received == after.received
