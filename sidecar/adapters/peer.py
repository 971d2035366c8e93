"""Another replica's sidecar, over its REST API."""

import time
from datetime import datetime
from typing import Any

import httpx2

from sidecar.adapters.http_client import HttpClient
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
LONGEST_WAIT_S = 30.0
# The token is for the sidecar only.
_NO_TOKEN = {"Authorization": ""}
SHORTEST_WAIT_S = 0.001
SLACK_S = 2.0
"""By which we wait longer than we allow the peer to hold."""


class SidecarPeer(HttpClient):
    """A `ports.Peer`. The token must be an operator's: the peer loads models for us."""

    def __init__(self, url: str, token: str | None, *, triton: str) -> None:
        """`triton` is the `host:port` of its Triton's HTTP endpoint."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._url = url
        self._triton = f"http://{triton}"
        super().__init__(base_url=url, headers=headers)

    async def look(self, routed: str) -> Announcement:
        try:
            said = await self._ask("GET", "/v1/replica", {"routed": routed}, LOOK_TIMEOUT_S)
            return Announcement(
                models={model: tuple(versions) for model, versions in said["models"].items()},
                stateful=frozenset(said["stateful"]),
                joined=bool(said["joined"]),
                free_bytes=int(said["free_bytes"]),
            )
        except (RequestRefused, KeyError, TypeError, AttributeError) as error:
            raise self._not_understood(error) from error

    async def ensure(self, model: str, *, timeout_s: float) -> Heat:
        """Asks again where the peer lets nobody wait for so long."""
        ends_s = time.monotonic() + timeout_s
        while True:
            left_s = max(ends_s - time.monotonic(), SHORTEST_WAIT_S)
            try:
                return await self._ensure(model, min(left_s, LONGEST_WAIT_S))
            except TooLate:
                if left_s <= LONGEST_WAIT_S:
                    raise

    async def serves(self, model: str) -> bool:
        path = f"{self._triton}/v2/models/{model}/ready"
        try:
            answer = await self._client.get(path, timeout=LOOK_TIMEOUT_S, headers=_NO_TOKEN)
        except httpx2.HTTPError:
            return False
        return answer.is_success

    async def _ensure(self, model: str, timeout_s: float) -> Heat:
        query = {"timeout": f"{timeout_s:.3f}s"}
        said = await self._ask("POST", f"/v1/models/{model}:ensure", query, timeout_s + SLACK_S)
        try:
            return Heat(said["outcome"])
        except (KeyError, TypeError, ValueError) as error:
            raise self._not_understood(error) from error

    def _not_understood(self, error: Exception) -> PeerLost:
        return PeerLost(
            f"the sidecar at {self._url} says nothing that we understand: {error!r}; it must be "
            "of the same version as this one"
        )

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
