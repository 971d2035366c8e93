"""A client of the sidecar's REST API."""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import httpx2

POLL_S = 0.05
TIMEOUT_S = 10.0
SILENT_S = 40.0
"""An event stream that says nothing for so long is dead; a live one comments every 15 s."""


class AdminError(Exception):
    """The sidecar could not be reached, or answered with a problem."""


class Unreachable(AdminError):
    """Nobody answers, or no longer."""


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

    def get(self, path: str) -> dict[str, Any]:
        """What is at a path such as `/v1/devices`."""
        return self._call("GET", path)

    def models(self, **filters: str | None) -> list[dict[str, Any]]:
        """All that pass the filters `tier` and `warmth`, however many pages they take."""
        return list(self._pages("/v1/models", "models", filters))

    def model(self, name: str) -> dict[str, Any]:
        return self.get(f"/v1/models/{name}")

    def release(self, path: str) -> dict[str, Any]:
        return self.get(path)

    def releases(self, **filters: str | None) -> Iterator[dict[str, Any]]:
        """Newest first; filters are `model` and `active`, and `page_size`."""
        return self._pages("/v1/releases", "releases", filters)

    def find_release(self, name: str) -> dict[str, Any]:
        """The newest release of the model of this name, or else the release itself.

        Raises:
            AdminError: also when the name is neither's.
        """
        newest = next(self.releases(model=name, page_size="1"), None)
        return newest or self.get(f"/v1/releases/{name}")

    def follow(self, release: str) -> Iterator[dict[str, Any]]:
        """A release now and after each change, until it or the sidecar ends."""
        return self._stream(f"{release}/stream", {})

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

    def ask(
        self, path: str, body: dict[str, Any] | None = None, *, timeout_s: float = TIMEOUT_S
    ) -> dict[str, Any]:
        """POST a request: `/v1/models/m:load`, for one, answers with an operation.

        `timeout_s` is how long the answer may take; without a body it is empty.
        """
        return self._call("POST", path, body, timeout_s=timeout_s)

    def change_spec(self, model: str, patch: Mapping[str, str | None]) -> dict[str, Any]:
        """Merge a patch into what is wanted of a model.

        Raises:
            AdminError: also when somebody else changed it since it was read.
        """
        return self._change("PATCH", f"/v1/models/{model}/spec", dict(patch))

    def gateway(self) -> dict[str, Any] | None:
        """None where there is none."""
        found: dict[str, Any] | None = self.get("/v1/gateway")["gateway"]
        return found

    def traffic(self, model: str) -> dict[str, Any]:
        """Where a model's requests are to go, and where they have gone."""
        return self.get(f"/v1/models/{model}/traffic")

    def steer(self, model: str, steering: Mapping[str, Any]) -> dict[str, Any]:
        """Replace what is said of a model's requests.

        Raises:
            AdminError: also when somebody else changed it since it was read.
        """
        return self._change("PUT", f"/v1/models/{model}/traffic", dict(steering))

    def end_steering(self, model: str) -> None:
        """Raises AdminError as `steer` does."""
        self._change("DELETE", f"/v1/models/{model}/traffic")

    def clear_rejection(self, model: str, version: int) -> None:
        """Let a version that was rejected be released again."""
        self._call("DELETE", f"/v1/models/{model}/versions/{version}/rejection")

    def recording(self, model: str) -> dict[str, Any]:
        """Which of a model's requests are to be kept, and how many are."""
        return self.get(f"/v1/models/{model}/recording")

    def record(self, model: str, said: Mapping[str, Any]) -> dict[str, Any]:
        """Replace what is said of it. Raises AdminError as `steer` does."""
        return self._change("PUT", f"/v1/models/{model}/recording", dict(said))

    def end_recording(self, model: str) -> None:
        """Forget all that was kept. Raises AdminError as `steer` does."""
        self._change("DELETE", f"/v1/models/{model}/recording")

    def hand_over(self, model: str, request: dict[str, Any]) -> dict[str, Any]:
        """Let a request for inference be kept."""
        return self.ask(f"/v1/models/{model}/recording/requests", request)

    def audit(self, **filters: str | None) -> Iterator[dict[str, Any]]:
        """Entries, oldest first; filters are `model`, `actor`, `event`, `since` and `until`."""
        return self._pages("/v1/audit", "entries", filters)

    def events(self, *, model: str | None, after: int | None) -> Iterator[dict[str, Any]]:
        """Entries as they come in, behind an id or from now on, until the sidecar stops."""
        return self._stream(
            "/v1/events", _given(model=model, after=None if after is None else str(after))
        )

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

    def _pages(
        self, path: str, items: str, filters: Mapping[str, str | None]
    ) -> Iterator[dict[str, Any]]:
        query = _given(**filters)
        while True:
            page = self._call("GET", path, query=query)
            yield from page[items]
            if page["next_page_token"] is None:
                return
            query["page_token"] = page["next_page_token"]

    def _stream(self, path: str, parameters: Mapping[str, str]) -> Iterator[dict[str, Any]]:
        try:
            with self._client.sse(
                path,
                params=parameters,
                timeout=httpx2.Timeout(TIMEOUT_S, read=SILENT_S),
            ) as source:
                if source.response.is_error:
                    source.response.read()
                    raise _refused(source.response)
                for event in source:
                    yield json.loads(event.data)
        except httpx2.TransportError as error:
            raise self._unreachable(error) from error

    def _change(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Change an object as it is now."""
        tag = self._send("GET", path).headers.get("etag")
        condition = {"If-Match": tag} if tag else {"If-None-Match": "*"}
        return self._call(method, path, body, headers=condition)

    def _call(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        **how: Any,
    ) -> dict[str, Any]:
        answer = self._send(method, path, body, **how)
        content: dict[str, Any] = answer.json() if answer.content else {}
        return content

    def _send(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        allowed: Sequence[int] = (200, 202, 204),
        timeout_s: float = TIMEOUT_S,
    ) -> httpx2.Response:
        try:
            answer = self._client.request(
                method, path, json=body, params=query, headers=headers, timeout=timeout_s
            )
        except httpx2.TransportError as error:
            raise self._unreachable(error) from error
        if answer.status_code not in allowed:
            raise _refused(answer)
        return answer

    def _unreachable(self, error: httpx2.TransportError) -> Unreachable:
        return Unreachable(
            f"no sidecar at {self._client.base_url}: {error}; start one with `make serve`"
        )


def _refused(answer: httpx2.Response) -> AdminError:
    content = answer.json()
    return AdminError(f"{answer.status_code} {content['code']}: {content['detail']}")


def _given(**parameters: str | None) -> dict[str, str]:
    return {name: value for name, value in parameters.items() if value is not None}
