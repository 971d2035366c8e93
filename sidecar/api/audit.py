"""The append-only audit: what happened, to which model, and who asked for it."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import AwareDatetime

from sidecar.api.paging import Page, Paged, invalid_token
from sidecar.api.problems import problems
from sidecar.api.schemas import MAX_ENTRY_ID, AuditPage, EntryBody
from sidecar.core.events import EventName
from sidecar.ports import Entry, Filter, Journal


def audit_routes(journal: Journal) -> APIRouter:
    router = APIRouter(prefix="/v1/audit", tags=["events"])

    @router.get("", summary="Read the audit", responses=problems("invalid_page_token"))
    async def read(
        page: Paged,
        *,
        model: str | None = None,
        actor: Annotated[str | None, Query(description="Name of the token.")] = None,
        event: EventName | None = None,
        since: Annotated[AwareDatetime | None, Query(description="At this time or later.")] = None,
        until: Annotated[AwareDatetime | None, Query(description="Before this time.")] = None,
    ) -> AuditPage:
        """Oldest first."""
        matching = Filter(
            model=model,
            actor=actor,
            name=event and event.value,
            since_s=_seconds(since),
            until_s=_seconds(until),
        )
        left = await journal.read(after=_after(page), limit=page.size + 1, matching=matching)
        found, following = page.first_of(list(left), _key)
        return AuditPage(
            entries=[EntryBody.of(entry) for entry in found], next_page_token=following
        )

    return router


def _seconds(at: datetime | None) -> float | None:
    return None if at is None else at.timestamp()


def _key(entry: Entry) -> str:
    return str(entry.id)


def _after(page: Page) -> int:
    if page.after is None:
        return 0
    if not page.after.isdecimal() or int(page.after) > MAX_ENTRY_ID:
        raise invalid_token(page.after)
    return int(page.after)
