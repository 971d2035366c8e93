"""Lists in pages. The order is that of a key, so that pages stay right when items come and go."""

import base64
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, TypeVar

from fastapi import Depends, Query

from sidecar.errors import Impossible

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page:
    """`after` is the key of the last item of the page before."""

    size: int
    after: str | None

    def cut(
        self, items: Iterable[T], key: Callable[[T], str], *, newest_first: bool = False
    ) -> tuple[list[T], str | None]:
        """This page's items by their keys, and the token of the next page if there is one."""

        def is_left(item: T) -> bool:
            if self.after is None:
                return True
            return key(item) < self.after if newest_first else key(item) > self.after

        left = sorted(filter(is_left, items), key=key, reverse=newest_first)
        return self.first_of(left, key)

    def first_of(self, left: list[T], key: Callable[[T], str]) -> tuple[list[T], str | None]:
        """This page of what is `left` in order: everything, or at least one more item."""
        found = left[: self.size]
        return found, token(key(found[-1])) if len(left) > self.size else None


def token(key: str) -> str:
    return base64.urlsafe_b64encode(key.encode()).decode()


def invalid_token(page_token: str) -> Impossible:
    return Impossible(
        "invalid_page_token",
        f"page_token {page_token!r} is not the next_page_token of an answer; leave it out to "
        "begin with the first page",
    )


async def _page(
    page_size: Annotated[int, Query(ge=1, le=1000, description="The most items to send.")] = 100,
    page_token: Annotated[
        str | None, Query(description="`next_page_token` of the page before.")
    ] = None,
) -> Page:
    if page_token is None:
        return Page(page_size, None)
    try:
        return Page(page_size, base64.b64decode(page_token, b"-_", validate=True).decode())
    except ValueError:
        raise invalid_token(page_token) from None


Paged = Annotated[Page, Depends(_page)]
