"""What an operator should know about memory, in sentences."""

from contract.bytes import format_bytes
from sidecar.core.fleet import Snapshot
from sidecar.core.policy import Policy, Recycle


def advice(snapshot: Snapshot, policy: Policy, now_s: float) -> list[str]:
    """Empty when all is well."""
    said = snapshot.pressure.advice(now_s) if policy.ranking.is_priced else []
    if policy.recycle is not Recycle.OFF and snapshot.leaked_bytes > policy.leak_limit_bytes:
        said.append(
            f"failed loads have kept {format_bytes(snapshot.leaked_bytes)} of the serving "
            "server's memory; restart it when traffic is low, everything comes back by itself"
        )
    if snapshot.meter_problem is not None:
        said.append(f"memory is counted, but not measured: {snapshot.meter_problem}")
    return said
