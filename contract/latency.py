"""When two latencies are the same: one rule for the generator's and the sidecar's warm-up."""

UNNOTICED_MS = 0.5


def is_as_fast(taken_ms: float, other_ms: float, *, share: float) -> bool:
    """Whether `taken_ms` is above `other_ms` by at most that share of it, or half a millisecond."""
    return taken_ms <= max((1 + share) * other_ms, other_ms + UNNOTICED_MS)
