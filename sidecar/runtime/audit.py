"""Audit rows that a process owed when it died.

A step of a release is recorded first and told afterwards. Whoever dies in between leaves a
record that the audit does not know of; the next process tells it, with the step's own time.
"""

from collections.abc import AsyncIterator
from dataclasses import replace

import structlog

from sidecar.core.events import Event, EventDetail, EventName
from sidecar.core.release import Release, moved
from sidecar.errors import StateUnavailable
from sidecar.ports import Filter, Journal
from sidecar.runtime.records import Records

PAGE = 1000


async def repair(records: Records, journal: Journal) -> None:
    """Tell what is missing of each model's newest release; such a row has `recovered: 1`.

    To be called before this process moves any release. On a full disk all stays as it is: the
    next start tries again.
    """
    try:
        for release in (await records.releases()).values():
            if release.id in records.begun:
                # By a request just now, which tells it.
                continue
            async for event, at_s in _missing(release, journal):
                await journal.append(event, at_s)
                structlog.get_logger("pilotlight").warning("audit_row_recovered", **event.detail)
    except StateUnavailable as error:
        structlog.get_logger("pilotlight").error("audit_not_repaired", reason=str(error))


async def _missing(release: Release, journal: Journal) -> AsyncIterator[tuple[Event, float]]:
    told = await _told(release, journal)
    for number, step in enumerate(release.steps, start=1):
        if not {number, None} & told:
            event = moved(replace(release, steps=release.steps[:number]))
            yield replace(event, detail={**event.detail, "recovered": 1}), step.at_s


async def _told(release: Release, journal: Journal) -> set[EventDetail | None]:
    """Numbers of the steps that the audit knows; None of one from before they had numbers."""
    matching = Filter(model=release.model, name=EventName.RELEASE_MOVED.value)
    found: set[EventDetail | None] = set()
    after, is_more = 0, True
    while is_more:
        rows = await journal.read(after=after, limit=PAGE, matching=matching)
        details = [row.event.detail for row in rows]
        found |= {each.get("step") for each in details if each["release"] == release.id}
        is_more = len(rows) == PAGE
        after = rows[-1].id if rows else after
    return found
