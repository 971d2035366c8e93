"""Changes of desired state are made for the state that was read: ETag, If-Match, If-None-Match.

The strong ETag of an object is its revision in the state store.
"""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header, Response

from sidecar.errors import Stale, Unconditional
from sidecar.ports import Stored


def etag(stored: Stored) -> str:
    return f'"{stored.revision}"'


def tag(response: Response, stored: Stored | None) -> None:
    """What is not there has no ETag."""
    if stored is not None:
        response.headers["ETag"] = etag(stored)


@dataclass(frozen=True, slots=True)
class Precondition:
    """What a PUT, PATCH or DELETE says about the object that it was made for."""

    match: str | None
    none_match: str | None

    def expect(self, stored: Stored | None) -> int | None:
        """The `expect` of the write that follows; a StateConflict there is answered with 412.

        Raises:
            Unconditional: neither header is given.
            Stale: the object is not what they say.
        """
        if self.match is None and self.none_match is None:
            raise Unconditional(
                "send `If-Match` with the ETag that GET answered, so that nobody's change is "
                "lost; or `If-None-Match: *` to make what is not there yet"
            )
        now = etag(stored) if stored else "absent"
        if self.match is not None and (stored is None or not _names(self.match, now)):
            raise Stale(f"it is {now} by now, not {self.match}; read it again")
        if self.none_match is not None and stored and _names(self.none_match, now):
            raise Stale(f"it is there already as {now}")
        return stored.revision if stored else None


async def _precondition(
    if_match: Annotated[
        str | None, Header(description="The `ETag` that was read, or `*` for any.")
    ] = None,
    if_none_match: Annotated[
        str | None, Header(description="`*`: only where there is none yet.")
    ] = None,
) -> Precondition:
    return Precondition(if_match, if_none_match)


Conditional = Annotated[Precondition, Depends(_precondition)]


def _names(header: str, tag: str) -> bool:
    """Strong comparison: a weak tag names nothing."""
    return header.strip() == "*" or tag in (part.strip() for part in header.split(","))
