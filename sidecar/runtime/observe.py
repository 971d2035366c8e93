"""All reads of one cycle, into one frozen snapshot."""

import asyncio

from sidecar.core.fleet import Server, ServerView, Snapshot
from sidecar.errors import ServerError
from sidecar.runtime.world import World


async def observe(world: World) -> Snapshot:
    """Look at everything once.

    A server that does not answer is a fact of the snapshot; a state that cannot be read is
    an error, because a plan without the record could undo what was recorded.
    """
    board = world.board
    busy, checking = frozenset(board.busy), frozenset(board.checking)
    records = world.records
    desired, serving, releases, operations = (
        await records.desired(),
        await records.serving(),
        await records.releases(),
        await records.operations(),
    )
    models, problems = await world.store.scan()
    views = await asyncio.gather(*(_view(world, server) for server in Server))
    active = {release.id for release in releases.values() if release.is_active}
    for key in [key for key in board.outcomes if key[0] not in active]:
        del board.outcomes[key]
    return Snapshot(
        models=models,
        servers=dict(zip(Server, views, strict=True)),
        desired=desired,
        serving=serving,
        releases=releases,
        operations=operations,
        busy=busy,
        checking=checking,
        failures=dict(board.failures),
        outcomes=dict(board.outcomes),
        store_problems=problems,
    )


async def _view(world: World, server: Server) -> ServerView:
    port = world.servers[server]
    staged = await world.stages[server].read()
    try:
        await port.check()
        index = await port.index()
    except ServerError as error:
        world.board.lost(server)
        return ServerView(problem=str(error), staged=staged)
    world.board.saw_index(server, index)
    return ServerView(index=index, staged=staged, verified=world.board.verified(server))
