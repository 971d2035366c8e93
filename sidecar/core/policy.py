"""Limits that decisions obey."""

from dataclasses import dataclass

FIRST_RETRY_S = 0.5
LAST_RETRY_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """`soak_s`: how long both versions stay after a promotion, seconds.

    `parallel_loads`: loads in flight per server; well below Triton's
    `--model-load-thread-count`, because in-place changes queue in the same pool.
    `lost_attempts`: how often the canary server may be lost under a version before the
    version is held responsible.
    """

    soak_s: float
    parallel_loads: int
    lost_attempts: int = 3


def retry_at_s(attempts: int, failed_at_s: float) -> float:
    """When to try again after `attempts` failures in a row: doubling, at most a minute."""
    # A thousand doublings would be too much even for a float.
    doublings = min(attempts - 1, 10)
    return failed_at_s + min(LAST_RETRY_S, FIRST_RETRY_S * 2.0**doublings)
