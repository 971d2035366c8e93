"""Every metric of the sidecar as Markdown, from the code that makes it: `markdown()`, or run it."""

from collections.abc import Iterator
from dataclasses import dataclass

from prometheus_client import Metric

from sidecar.core.fleet import Server, ServerView, Snapshot
from sidecar.core.policy import Policy
from sidecar.core.routing import Replica
from sidecar.core.traffic import Traffic
from sidecar.runtime.activate import Waiting
from sidecar.runtime.gateway_gauges import GatewayGauges
from sidecar.runtime.route import Router
from sidecar.runtime.telemetry import Telemetry


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """`name` is what to ask for, but for a histogram, whose series end in _bucket and so on."""

    name: str
    kind: str
    labels: tuple[str, ...]
    text: str


def described() -> list[Described]:
    """All, by name; those of the gateway are there when the sidecar has one."""
    telemetry = Telemetry(None)  # type: ignore[arg-type]  # nothing happens that it could keep
    own = Replica(name="own", http="", grpc="", models=frozenset(), joined=False)
    gateway = GatewayGauges(Router(None, own, telemetry), Waiting())
    telemetry.registry.register(gateway)
    servers = {server: ServerView() for server in Server}
    seen = Snapshot(models={}, servers=servers, traffic={"m": Traffic()})
    telemetry.show(seen, Policy(soak_s=0.0, parallel_loads=1), 0.0)
    found = [_described(family) for family in telemetry.registry.collect()]
    return sorted(found, key=lambda each: each.name)


def markdown() -> str:
    return "\n".join(_lines())


def _lines() -> Iterator[str]:
    yield "| metric | kind | labels | meaning |"
    yield "|---|---|---|---|"
    for each in described():
        labels = ", ".join(f"`{label}`" for label in each.labels)
        yield f"| `{each.name}` | {each.kind} | {labels} | {each.text} |"


def _described(family: Metric) -> Described:
    """A family that is made at the scrape knows its labels also when it is empty."""
    of_samples = {label for sample in family.samples for label in sample.labels} - {"le"}
    labels = getattr(family, "_labelnames", None) or sorted(of_samples)
    return Described(
        name=f"{family.name}_total" if family.type == "counter" else family.name,
        kind=family.type,
        labels=tuple(labels),
        text=family.documentation,
    )


if __name__ == "__main__":
    print(markdown())  # noqa: T201
