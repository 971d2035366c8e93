"""Another replica's sidecar, over its REST API."""

from contextlib import AbstractAsyncContextManager
from datetime import datetime
from types import TracebackType
from typing import Any

import httpx2

from sidecar.core.activation import Heat
from sidecar.core.replicas import Announcement
from sidecar.errors import (
    DoesNotFit,
    NotNow,
    PeerLost,
    Quarantined,
    RequestRefused,
    TooLate,
    UnknownObject,
)

LOOK_TIMEOUT_S = 0.5
SLACK_S = 2.0
"""By which we wait longer than we allow the peer to hold."""


class SidecarPeer(AbstractAsyncContextManager["SidecarPeer"]):
    """A `ports.Peer`. The token must be an operator's: the peer loads models for us."""

    def __init__(self, url: str, token: str | None) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._url = url
        self._client = httpx2.AsyncClient(base_url=url, headers=headers)

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._client.aclose()

    async def look(self, routed: str) -> Announcement:
        said = await self._ask("GET", "/v1/replica", {"routed": routed}, LOOK_TIMEOUT_S)
        return Announcement(
            models=frozenset(said["models"]),
            stateful=frozenset(said["stateful"]),
            joined=said["joined"],
            free_bytes=said["free_bytes"],
        )

    async def ensure(self, model: str, *, timeout_s: float) -> Heat:
        query = {"timeout": f"{timeout_s:.3f}s"}
        path = f"/v1/models/{model}:ensure"
        said = await self._ask("POST", path, query, timeout_s + SLACK_S)
        return Heat(said["warmth"])

    async def _ask(
        self, method: str, path: str, query: dict[str, str], timeout_s: float
    ) -> dict[str, Any]:
        try:
            answer = await self._client.request(method, path, params=query, timeout=timeout_s)
            said: dict[str, Any] = answer.json()
        except (httpx2.HTTPError, ValueError) as error:
            raise PeerLost(f"the sidecar at {self._url} does not answer: {error!r}") from error
        if answer.is_success:
            return said
        refusal = _refusal(said)
        if refusal is not None:
            raise refusal
        raise PeerLost(
            f"the sidecar at {self._url} answers {method} {path} with {answer.status_code}: "
            f"{said.get('detail')}; check gateway.replicas, its token and its version"
        )


def _refusal(said: dict[str, Any]) -> RequestRefused | None:
    """The error behind a problem, where a client of the gateway can do something with it."""
    detail = said.get("detail", "")
    match said.get("code"):
        case "unknown_model":
            return UnknownObject("unknown_model", detail)
        case "quarantined":
            until = said.get("until")
            until_s = datetime.fromisoformat(until).timestamp() if until else None
            return Quarantined(detail, until_s=until_s)
        case "not_now":
            return NotNow(detail)
        case "deadline_passed":
            return TooLate(detail)
        case "insufficient_memory":
            names = ("device", "needed_bytes", "free_bytes", "evictable_bytes", "blocked_by")
            return DoesNotFit(detail, **{name: said[name] for name in names})
        case _:
            return None
