"""What every act needs: the running servers, the store, the clients."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from contract.compare import compare
from contract.samples import GoldenSample
from embedded.process import wait_until
from pilotlight.admin import Admin
from pilotlight.demo.clients import Answer, Client, GrpcClient, HttpClient, Traffic
from pilotlight.demo.shelf import Shelf
from pilotlight.stack import Stack
from sidecar.core.events import EventName
from sidecar.core.fleet import Server
from sidecar.settings import host_and_port

HOT = ("premium", "short_form")
LAZY = "long_form"
RELEASED = "short_form"
TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class Stage:
    """Clients speak to the gateway; `requests` has one for each model that is asked."""

    stack: Stack
    shelf: Shelf
    admin: Admin
    requests: Mapping[str, GoldenSample]

    def grpc(self) -> Client:
        return GrpcClient(self.stack.grpc_address)

    def http(self) -> Client:
        _, port = host_and_port(self.stack.http_address)
        return HttpClient(port)

    def traffic(self) -> Traffic:
        """To a hot model: two clients over gRPC and one over HTTP, without a pause."""
        clients = {"grpc-1": self.grpc, "grpc-2": self.grpc, "http": self.http}
        return Traffic(clients, RELEASED, self.requests[RELEASED].inputs)

    def ask(self, client: Client, model: str) -> Answer:
        """Raises RequestFailed."""
        return client.infer(model, self.requests[model].inputs)

    def is_right(self, model: str, answer: Answer) -> bool:
        limits = self.shelf.manifest(model, 1).tolerances
        found = compare(answer.outputs, self.requests[model].outputs, limits)
        return not any(each.reason for each in found)

    def put_away(self, model: str) -> None:
        """Unload a model, and leave none of its files in the page cache."""
        self.admin.wait(self.admin.ask(f"/v1/models/{model}:unload"), TIMEOUT_S)
        self.shelf.drop_from_page_cache(model)

    def events(self, name: EventName, model: str, since: datetime) -> list[dict[str, Any]]:
        """Of the serving server, oldest first."""
        found = self.admin.audit(model=model, event=name, since=since.isoformat())
        return [entry for entry in found if entry["server"] == Server.SERVING]

    def ready_versions(self) -> Mapping[str, list[int]]:
        """Of the models that have any."""
        models = self.admin.models()
        return {
            model["name"]: model["ready_versions"] for model in models if model["ready_versions"]
        }

    def wait_for_state(self, operation: Mapping[str, Any], state: str) -> None:
        """Return when the operation's release has come to a state. Raises TimeoutError."""

        def reached() -> bool:
            release = self.admin.release(operation["release"])
            has_come = any(step["state"] == state for step in release["steps"])
            if not has_come and not release["active"]:
                raise TimeoutError(
                    f"release is {release['state']}, not {state}: {release['reason']}"
                )
            return has_come

        until(reached)


def until(condition: Callable[[], bool]) -> None:
    """Raises TimeoutError."""
    if not wait_until(condition, TIMEOUT_S):
        raise TimeoutError(f"not within {TIMEOUT_S:g} s; the logs of this run say why")
