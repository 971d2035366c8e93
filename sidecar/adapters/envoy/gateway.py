"""Envoy as `ports.Gateway`."""

import asyncio
import json
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog

from contract.files import reason_of
from sidecar.adapters.envoy import clusters, endpoints, listeners, routes
from sidecar.adapters.envoy.admin import Admin
from sidecar.adapters.envoy.bootstrap import bootstrap
from sidecar.adapters.envoy.files import Folder
from sidecar.adapters.envoy.listeners import Edge
from sidecar.adapters.envoy.names import GRPC, HTTP, PROTOCOLS, STREAMS, serving
from sidecar.core.routing import Routes
from sidecar.core.traffic import Traffic
from sidecar.errors import GatewayLost, GatewayRefused

APPLIED_WITHIN_S = 15.0
"""Of 10,000 loaded models; a change among few takes milliseconds."""
POLL_S = 0.003


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What of the configuration follows from the settings.

    `seen_folder` is where Envoy sees the files. `activator` and `canary` are `host:port` for
    each protocol; without a canary nothing can be mirrored. A replica that has not answered for
    `hangs_after_s` gets no requests.
    """

    seen_folder: str
    edge: Edge
    admin: tuple[str, int]
    activator: Mapping[str, str]
    canary: Mapping[str, str] | None
    largest_heap_bytes: int
    hangs_after_s: float = 0.5


class EnvoyGateway:
    """Writes files for an Envoy, and asks it whether it has taken them up."""

    def __init__(self, folder: Path, plan: Plan, admin: Admin) -> None:
        self._folder = Folder(folder)
        self._plan = plan
        self._admin = admin
        self._good: Mapping[str, str] = {}

    async def apply(self, routes: Routes) -> None:
        versions = await self.write(routes)
        deadline_s = time.monotonic() + APPLIED_WITHIN_S
        while missing := await self._missing(versions):
            if time.monotonic() > deadline_s:
                refused = await self._refused(missing)
                # An Envoy that starts again must not begin with what this one has refused.
                with self._guarded():
                    for name, text in self._good.items():
                        self._folder.write(name, text)
                # It tries again only what comes again: a port may be free by then.
                self._folder.forget()
                raise refused
            await asyncio.sleep(POLL_S)
        with self._guarded():
            self._good = self._folder.contents()

    async def write(self, found: Routes) -> Mapping[str, str]:
        """Write all files; returns their versions by the prefix of Envoy's statistics.

        Raises:
            GatewayLost: a file cannot be written, or a name not be resolved.
        """
        plan = self._plan
        with self._guarded():
            addresses = await _resolve(
                {address for each in found.replicas for address in (each.http, each.grpc)}
                | set(plan.activator.values())
                | set((plan.canary or {}).values())
            )
            # A disk may take its time until all is on it.
            return await asyncio.to_thread(self._write, found, addresses)

    def _write(self, found: Routes, addresses: Mapping[str, tuple[str, int]]) -> Mapping[str, str]:
        """As `write`. `addresses` are where each `host:port` is. Raises OSError."""
        plan, folder = self._plan, self._folder
        versions = {}
        for cluster, protocol in (
            *((serving(protocol), protocol) for protocol in PROTOCOLS),
            (STREAMS, GRPC),
        ):
            assignment = endpoints.endpoints(
                cluster,
                protocol,
                found.replicas,
                plan.activator[protocol],
                addresses.__getitem__,
                activator_first=cluster == STREAMS,
            )
            versions[f"cluster.{cluster}"] = folder.put(
                f"endpoints_{cluster}", endpoints.TYPE, [assignment]
            )
        groups = clusters.serving_clusters(plan.seen_folder, plan.hangs_after_s)
        if plan.canary is not None:
            groups += clusters.canary_clusters(
                {protocol: addresses[each] for protocol, each in plan.canary.items()}
            )
            groups += clusters.sampler_clusters(
                {protocol: addresses[each] for protocol, each in plan.activator.items()}
            )
        versions["cluster_manager.cds"] = folder.put("clusters", clusters.TYPE, groups)
        largest = plan.edge.largest_request_bytes
        tables = {
            HTTP: routes.http_routes(found, largest),
            GRPC: routes.grpc_routes(found, largest),
        }
        for protocol, table in tables.items():
            versions[f"http.{protocol}.rds.{protocol}"] = folder.put(
                f"routes_{protocol}", routes.TYPE, [table]
            )
        doors = [
            listeners.listener(protocol, plan.edge, plan.seen_folder) for protocol in PROTOCOLS
        ]
        if plan.edge.certificate is not None:
            certificate = listeners.secret(plan.edge)
            folder.put(listeners.SECRETS, listeners.CERTIFICATE_TYPE, [certificate])
        versions["listener_manager.lds"] = folder.put("listeners", listeners.TYPE, doors)
        first = bootstrap(plan.seen_folder, plan.admin, plan.largest_heap_bytes)
        folder.write("bootstrap", json.dumps(first, indent=1))
        return versions

    async def models(self, replica: str) -> frozenset[str]:
        name = f"endpoints_{serving(HTTP)}"
        with self._guarded():
            found = self._folder.contents().get(name)
        if found is None:
            return frozenset()
        try:
            (assignment,) = json.loads(found)["resources"]
            return endpoints.models(assignment, replica)
        except ValueError as error:
            # Cut off, when the power failed for example: it is written anew with the next routes.
            structlog.get_logger("pilotlight").warning(
                "gateway_file_unreadable",
                path=f"{self._folder.path}/{name}.json",
                reason=repr(error),
            )
            return frozenset()

    async def traffic(self) -> Mapping[str, Traffic]:
        return await self._admin.traffic()

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise GatewayLost(
                f"the gateway's routes cannot be written to {self._folder.path}: "
                f"{reason_of(error)}; free its disk or mend its permissions: until then Envoy goes "
                "on as before"
            ) from error

    async def _missing(self, versions: Mapping[str, str]) -> list[str]:
        seen = await self._admin.versions()
        return [name for name, version in versions.items() if seen.get(name) != version]

    async def _refused(self, missing: list[str]) -> GatewayRefused:
        found = await self._admin.rejections()
        why = "; ".join(f"{kind}: {reason}" for kind, reason in found.items())
        return GatewayRefused(
            f"Envoy has not taken up {', '.join(missing)} within {APPLIED_WITHIN_S:g} s: "
            f"{why or 'its log says why'}{_remedy(why)}; until then it goes on as before"
        )


def _remedy(why: str) -> str:
    if "already in use" in why:
        return "; stop what listens there, or choose another address in `gateway`: it tries again"
    return "; mend that: it is told again"


async def _resolve(addresses: set[str]) -> dict[str, tuple[str, int]]:
    """Each `host:port` as IP address and port. Raises GatewayLost, which names the host."""
    loop = asyncio.get_running_loop()

    async def resolve(address: str) -> tuple[str, int]:
        host, _, port = address.rpartition(":")
        try:
            found = await loop.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            # Of names that are none, such as `a..b`, the encoding of host names tells.
            why = error.strerror if isinstance(error, OSError) else "it is no name of a host"
            raise GatewayLost(
                f"the gateway's routes cannot be written: {host}: {why}; mend the name in the "
                "settings, or the name service"
            ) from error
        return str(found[0][4][0]), int(port)

    each = list(addresses)
    return dict(zip(each, await asyncio.gather(*map(resolve, each)), strict=True))
