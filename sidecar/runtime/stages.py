"""Whether a server can load what is put into its stage, found out before any load."""

from sidecar.core.fleet import Server, StageProblem
from sidecar.errors import Refused, StageUnusable
from sidecar.ports import Mark
from sidecar.runtime.world import World

_LEADS_NOWHERE = "failed to stat file"


async def stage_problem(world: World, server: Server) -> StageProblem | None:
    """Why the server cannot load what comes new into its stage, else None.

    Looked for until all is well, and again after the server was away or has failed to load.

    Raises:
        ServerError: the server does not answer, or not to this.
    """
    known = world.board.stage_problems
    if server is Server.CANARY and world.is_shadowed:
        return known.get(Server.SERVING)
    if server in known and known[server] is None:
        return None
    try:
        mark = await world.stages[server].mark()
        try:
            problem = await _as_seen(world, server, mark)
        finally:
            await world.stages[server].unmark()
    except StageUnusable as error:
        problem, mark = StageProblem(reason=str(error), blinds=False), None
    # Without a store there is nothing to lead to yet.
    if problem is not None or (mark is not None and mark.of_store):
        known[server] = problem
    return problem


async def _as_seen(world: World, server: Server, mark: Mark) -> StageProblem | None:
    """The mark leads to the store as the links to versions do, so it tells whether they work."""
    try:
        listed = await world.servers[server].index()
    except Refused as error:
        if _LEADS_NOWHERE not in str(error):
            raise
        reason = (
            f"the server reads {mark.folder}, but does not see the store {mark.store} from "
            "there; mount both so that the way from one to the other is the same for the server "
            "as for the sidecar"
        )
        return StageProblem(reason=reason, blinds=True)
    if mark.name in listed:
        return None
    reason = (
        f"the server does not list what is put into {mark.folder}; make that folder its "
        f"--model-repository, or its --model-repository the `stage` of servers.{server}"
    )
    return StageProblem(reason=reason, blinds=True)
