"""A client of the sidecar's REST API."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import httpx2

POLL_S = 0.05
TIMEOUT_S = 10.0


class AdminError(Exception):
    """The sidecar could not be reached, or answered with a problem."""


class OperationFailed(AdminError):
    """A long action ended without success."""


class Admin:
    """One sidecar. Bodies are the JSON objects of its OpenAPI document."""

    def __init__(self, url: str, token: str | None = None) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._client = httpx2.Client(base_url=url, headers=headers, timeout=TIMEOUT_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._client.close()

    def models(self) -> list[dict[str, Any]]:
        """All of them, however many pages they take."""
        answer = self._call("GET", "/v1/models")
        models: list[dict[str, Any]] = answer["models"]
        while page_token := answer["next_page_token"]:
            answer = self._call("GET", f"/v1/models?page_token={page_token}")
            models += answer["models"]
        return models

    def model(self, name: str) -> dict[str, Any]:
        return self._call("GET", f"/v1/models/{name}")

    def release(self, path: str) -> dict[str, Any]:
        return self._call("GET", path)

    def readiness(self) -> dict[str, Any]:
        """What `/readyz` says, ready or not."""
        return self._call("GET", "/readyz", allowed=(200, 503))

    def is_reachable(self) -> bool:
        """Whether a sidecar answers at all."""
        try:
            self.readiness()
        except AdminError:
            return False
        return True

    def ask(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """POST a request such as `/v1/models/m:load`; returns the operation."""
        return self._call("POST", path, body)

    def wait(
        self,
        operation: dict[str, Any],
        timeout_s: float,
        watch: Callable[[dict[str, Any]], None] = lambda _: None,
    ) -> dict[str, Any]:
        """The ended operation; `watch` sees it each time it is looked at.

        Raises:
            OperationFailed: it ended with an error, or `timeout_s` passed.
        """
        deadline_s = time.monotonic() + timeout_s
        while True:
            now = self._call("GET", operation["location"])
            watch(now)
            if now["done"]:
                if now["error"]:
                    raise OperationFailed(f"{now['kind']} of {now['model']}: {now['error']}")
                return now
            if time.monotonic() > deadline_s:
                raise OperationFailed(
                    f"{now['kind']} of {now['model']} goes on after {timeout_s:g} s; look at "
                    f"{now['location']}"
                )
            time.sleep(POLL_S)

    def _call(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        allowed: tuple[int, ...] = (200, 202),
    ) -> dict[str, Any]:
        try:
            answer = self._client.request(method, path, json=body)
        except httpx2.TransportError as error:
            raise AdminError(
                f"no sidecar at {self._client.base_url}: {error}; start one with `make serve`"
            ) from error
        content: dict[str, Any] = answer.json()
        if answer.status_code not in allowed:
            raise AdminError(f"{answer.status_code} {content['code']}: {content['detail']}")
        return content
