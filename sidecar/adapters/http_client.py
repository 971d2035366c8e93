"""What all adapters over HTTP have in common: a client that is closed at the end."""

from types import TracebackType
from typing import Any, Self

import httpx2


class HttpClient:
    """`options` are those of `httpx2.AsyncClient`."""

    def __init__(self, **options: Any) -> None:
        self._client = httpx2.AsyncClient(**options)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._client.aclose()
