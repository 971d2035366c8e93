"""The REST API as the commands use it: paths in, JSON objects out, whatever they have in them.

Programs use `pilotlight.client`, whose connections and errors these are.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self

from pilotlight.client import wire
from pilotlight.client.bodies import OperationBody
from pilotlight.client.client import READY_OR_NOT, TIMEOUT_S
from pilotlight.client.errors import ClientError, OperationFailed, StillRunning, Unreachable
from pilotlight.client.shells import SyncShell, Target
from pilotlight.client.steps import change, ended, exchange
from pilotlight.client.streams import Pages
from pilotlight.client.wire import Answer, Request

__all__ = ["Admin", "AdminError", "OperationFailed", "Unreachable"]

AdminError = ClientError


class Admin:
    """One sidecar. Bodies are the JSON objects of its OpenAPI document."""

    def __init__(self, url: str, token: str | None = None) -> None:
        self._shell = SyncShell(Target(url=url, token=token, timeout_s=TIMEOUT_S))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._shell.close()

    def get(self, path: str) -> dict[str, Any]:
        """What is at a path such as `/v1/devices`."""
        return self._call(wire.get(path))

    def models(self, **filters: str | None) -> list[dict[str, Any]]:
        """All that pass the filters `tier` and `warmth`, however many pages they take."""
        return list(self._pages("/v1/models", "models", filters))

    def model(self, name: str) -> dict[str, Any]:
        return self.get(wire.path("/v1/models/{name}", name=name))

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
        return newest or self.get(wire.path("/v1/releases/{name}", name=name))

    def follow(self, release: str) -> Iterator[dict[str, Any]]:
        """A release now and after each change, until it or the sidecar ends."""
        return self._stream(wire.listen_to(f"{release}/stream"))

    def readiness(self, *, verbose: bool = False) -> dict[str, Any]:
        """What `/readyz` says, ready or not; `verbose` tells all checks."""
        query = wire.given(verbose=verbose or None)
        return self._call(wire.get("/readyz", query, allowed=READY_OR_NOT))

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
        return self._call(wire.post(path, body, wait_s=max(0.0, timeout_s - TIMEOUT_S)))

    def change_spec(self, model: str, patch: Mapping[str, str | None]) -> dict[str, Any]:
        """Merge a patch into what is wanted of a model.

        Raises:
            AdminError: also when somebody else changed it since it was read.
        """
        return self._change("PATCH", f"/v1/models/{model}/spec", patch)

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
        return self._change("PUT", f"/v1/models/{model}/traffic", steering)

    def end_steering(self, model: str) -> None:
        """Raises AdminError as `steer` does."""
        self._change("DELETE", f"/v1/models/{model}/traffic")

    def clear_rejection(self, model: str, version: int) -> None:
        """Let a version that was rejected be released again."""
        self._call(wire.delete(f"/v1/models/{model}/versions/{version}/rejection"))

    def recording(self, model: str) -> dict[str, Any]:
        """Which of a model's requests are to be kept, and how many are."""
        return self.get(f"/v1/models/{model}/recording")

    def record(self, model: str, said: Mapping[str, Any]) -> dict[str, Any]:
        """Replace what is said of it. Raises AdminError as `steer` does."""
        return self._change("PUT", f"/v1/models/{model}/recording", said)

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
        return self._stream(wire.listen_to("/v1/events", wire.given(model=model, after=after)))

    def wait(
        self,
        operation: dict[str, Any],
        timeout_s: float,
        watch: Callable[[dict[str, Any]], None] = lambda _: None,
    ) -> dict[str, Any]:
        """The ended operation; `watch` sees it each time it is looked at.

        The sidecar may go and come back meanwhile.

        Raises:
            OperationFailed: it ended with an error, or `timeout_s` passed.
        """

        def read(answer: Answer) -> dict[str, Any]:
            found = answer.json()
            watch(found)
            return found

        now = self._shell.play(
            ended(operation["location"], read, lambda seen: bool(seen["done"]), timeout_s)
        )
        if not now["done"]:
            raise StillRunning(OperationBody.model_validate(now), timeout_s)
        if now["error"]:
            raise OperationFailed(OperationBody.model_validate(now))
        return now

    def _pages(
        self, path: str, items: str, filters: Mapping[str, str | None]
    ) -> Iterator[dict[str, Any]]:
        def read(answer: Answer) -> tuple[list[dict[str, Any]], str | None]:
            page = answer.json()
            return page[items], page["next_page_token"]

        return self._shell.pages(Pages(first=wire.get(path, wire.given(**filters)), read=read))

    def _stream(self, request: Request) -> Iterator[dict[str, Any]]:
        for told in self._shell.listen(request):
            yield json.loads(told.data)

    def _change(
        self, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Change an object as it is now."""
        return self._shell.play(change(method, path, body)).json()

    def _call(self, request: Request) -> dict[str, Any]:
        return self._shell.play(exchange(request)).json()
