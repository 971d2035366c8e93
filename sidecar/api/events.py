"""What happens, as it happens: server-sent events that resume where the reader left off."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header, Query
from fastapi.sse import EventSourceResponse, ServerSentEvent

from sidecar.api.problems import problems
from sidecar.api.schemas import ENTRY_ID, EntryBody
from sidecar.errors import StateUnavailable
from sidecar.ports import Entry, Filter
from sidecar.runtime.telemetry import Telemetry

# Entries per look into the journal; a reader far behind does not fill the memory.
BATCH = 100


def event_routes(telemetry: Telemetry) -> APIRouter:
    router = APIRouter(prefix="/v1/events", tags=["events"], responses=problems())

    @router.get("", summary="Follow what happens", response_class=EventSourceResponse)
    async def stream(
        model: Annotated[str | None, Query(description="Only this model's events.")] = None,
        after: Annotated[
            ENTRY_ID | None, Query(description="Begin behind this id; else with the next event.")
        ] = None,
        newest: Annotated[
            int, Query(ge=0, le=BATCH, description="Begin with so many that have happened.")
        ] = 0,
        last_event_id: Annotated[
            ENTRY_ID | None, Header(description="Sent by clients that connect again.")
        ] = None,
    ) -> AsyncIterator[ServerSentEvent]:
        """Audit entries as `text/event-stream`; a comment every 15 s keeps the line open.

        Of `newest`, only this model's are sent; `after` and `Last-Event-ID` go before it.
        """
        begin = last_event_id if last_event_id is not None else after
        with telemetry.readers.track_inprogress():
            async for entry in follow(telemetry, begin, Filter(model=model), newest=newest):
                yield ServerSentEvent(
                    id=str(entry.id), event=entry.event.name.value, data=EntryBody.of(entry)
                )

    return router


async def follow(
    telemetry: Telemetry, begin: int | None, matching: Filter, *, newest: int = 0
) -> AsyncIterator[Entry]:
    """Entries behind `begin` (None: the `newest` ones, and from now on), until the sidecar stops.

    Ends also when the journal cannot be read: who reads connects again.
    """
    journal = telemetry.journal
    try:
        after = max(0, await journal.newest_id() - newest) if begin is None else begin
        while True:
            last = await journal.newest_id()
            found = await journal.read(after=after, limit=BATCH, matching=matching)
            for entry in found:
                yield entry
            if len(found) == BATCH:
                after = found[-1].id
                continue
            # Smaller than before when the journal began anew and its reader remembers the old one.
            after = max(last, found[-1].id if found else 0)
            if not await telemetry.wait_beyond(after):
                return
    except StateUnavailable:
        return
