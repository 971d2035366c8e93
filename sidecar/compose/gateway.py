"""What of the sidecar has to do with the gateway."""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack

from sidecar.activator.samples import Samples
from sidecar.activator.serve import Activator
from sidecar.adapters.envoy.admin import Admin
from sidecar.adapters.envoy.gateway import EnvoyGateway, Plan
from sidecar.adapters.envoy.listeners import Edge
from sidecar.adapters.envoy.names import GRPC, HTTP
from sidecar.adapters.peer import SidecarPeer
from sidecar.api.front import Front
from sidecar.core.fleet import Server
from sidecar.core.replicas import free_bytes
from sidecar.core.routing import Replica, Routes
from sidecar.errors import InvalidSettings
from sidecar.runtime.compare import Comparer
from sidecar.runtime.endless import told
from sidecar.runtime.hold import Hold
from sidecar.runtime.loop import Loop
from sidecar.runtime.place import Placer
from sidecar.runtime.record import Recorder
from sidecar.runtime.replicas import Replicas
from sidecar.runtime.route import Router
from sidecar.runtime.telemetry import Telemetry
from sidecar.runtime.world import World
from sidecar.settings import (
    OWN_REPLICA,
    GatewaySettings,
    ServerSettings,
    Settings,
    host_and_port,
    read_secret,
)

LISTEN_AGAIN_S = 1.0


def front_of(settings: Settings, comparer: Comparer, recorder: Recorder) -> Front | None:
    if settings.gateway is None:
        return None
    canary = settings.servers.get(Server.CANARY)
    return Front(
        http=settings.gateway.http,
        grpc=settings.gateway.grpc,
        can_mirror=canary is not None and canary.http is not None,
        comparison=comparer.comparison,
        drops=recorder.drops,
    )


async def new_router(settings: Settings, telemetry: Telemetry, stack: AsyncExitStack) -> Router:
    serving = settings.servers[Server.SERVING]
    own = Replica(
        name=OWN_REPLICA,
        http=serving.http or "",
        grpc=serving.grpc,
        models=frozenset(),
        joined=False,
    )
    if settings.gateway is None:
        return Router(None, own, telemetry)
    admin = Admin(f"http://{settings.gateway.admin}")
    await stack.enter_async_context(admin)
    gateway = _envoy(settings.gateway, settings.servers, admin)
    return Router(gateway, own, telemetry, has_others=bool(settings.gateway.replicas))


def prepare_gateway(settings: Settings) -> None:
    """Write what Envoy needs to start, before there is a sidecar. Loaded is nothing then.

    Raises:
        InvalidSettings: there is no gateway, or the file of an API key cannot be read.
        GatewayLost: a file cannot be written, or a name not be resolved.
    """
    if settings.gateway is None:
        raise InvalidSettings("the settings have no section `gateway`")
    admin = Admin(f"http://{settings.gateway.admin}")
    gateway = _envoy(settings.gateway, settings.servers, admin)
    asyncio.run(gateway.write(Routes()))


def _envoy(
    gateway: GatewaySettings, servers: Mapping[Server, ServerSettings], admin: Admin
) -> EnvoyGateway:
    """Raises InvalidSettings when the file of an API key cannot be read."""
    canary = servers.get(Server.CANARY)
    tls = gateway.tls
    edge = Edge(
        addresses={HTTP: host_and_port(gateway.http), GRPC: host_and_port(gateway.grpc)},
        largest_request_bytes=gateway.largest_request,
        certificate=str(tls.certificate) if tls else None,
        key=str(tls.key) if tls else None,
        api_keys={key.client: read_secret(key.file) for key in gateway.api_keys},
    )
    plan = Plan(
        seen_folder=str(gateway.seen_folder or gateway.folder.resolve()),
        edge=edge,
        admin=host_and_port(gateway.admin),
        activator={HTTP: gateway.activator.http, GRPC: gateway.activator.grpc},
        canary={HTTP: canary.http, GRPC: canary.grpc} if canary and canary.http else None,
        largest_heap_bytes=gateway.memory,
    )
    return EnvoyGateway(gateway.folder, plan, admin)


async def _replicas(gateway: GatewaySettings, world: World, stack: AsyncExitStack) -> Replicas:
    peers = {
        said.name: await stack.enter_async_context(
            SidecarPeer(
                said.api,
                read_secret(said.token_file) if said.token_file else None,
                triton=said.http,
            )
        )
        for said in gateway.replicas
    }
    addresses = {
        said.name: Replica(name=said.name, http=said.http, grpc=said.grpc, models=frozenset())
        for said in gateway.replicas
    }
    replicas = Replicas(peers, addresses, world.router, world.telemetry, world.board)
    return await stack.enter_async_context(replicas)


async def start_activator(
    gateway: GatewaySettings, world: World, loop: Loop, samples: Samples, stack: AsyncExitStack
) -> None:
    """Listen for requests that Envoy sends us, and for its copies, until the stack is closed.

    Raises:
        InvalidSettings: a secret is missing.
    """

    def own_free_bytes() -> int:
        return free_bytes(loop.snapshot, loop.policy) if loop.snapshot else 0

    placer = Placer(
        world.waiting,
        world.router,
        await _replicas(gateway, world, stack),
        world.telemetry,
        own_free_bytes=own_free_bytes,
        longest_s=gateway.longest_hold_s,
    )
    hold = Hold(
        world.waiting,
        world.router,
        placer,
        world.telemetry.counts,
        longest_s=gateway.longest_hold_s,
        most=gateway.most_waiting,
        most_per_model=gateway.most_waiting_per_model,
    )
    activator = Activator(
        hold,
        samples,
        http=host_and_port(gateway.activator.http),
        grpc=host_and_port(gateway.activator.grpc),
    )
    listening = asyncio.create_task(_listen(activator, world))

    async def stop() -> None:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        await activator.__aexit__(None, None, None)

    stack.push_async_callback(stop)


async def _listen(activator: Activator, world: World) -> None:
    """As soon as the ports are free: what is loaded needs no activator."""
    while True:
        problem = None
        try:
            await activator.__aenter__()
        except InvalidSettings as error:
            problem = str(error)
        except Exception as error:  # noqa: BLE001  (nobody else would see it)
            problem = told("activator", error, world.board.troubles.get("activator"))
        world.board.trouble("activator", problem)
        if problem is None:
            return
        await asyncio.sleep(LISTEN_AGAIN_S)
