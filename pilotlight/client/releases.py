"""Releases one at a time and many at once, and the operations that they and loads are."""

from collections.abc import Sequence

from pilotlight.client import wire
from pilotlight.client.bodies import (
    GatheredBody,
    OperationBody,
    OperationList,
    ReleaseBody,
    ReleaseList,
    ReleaseRequest,
    Strategy,
    TrainBody,
    TrainList,
    TrainRequest,
)
from pilotlight.client.errors import OperationFailed, StillRunning, TimedOut
from pilotlight.client.resource import Resource, S, asks, follows, lists
from pilotlight.client.steps import Steps, call, ended, reading
from pilotlight.client.streams import Feed, Pages, feed_of, pages_of

SUPERSEDED_S = 30.0
"""What the answer may take while a release that goes on is aborted first."""
AnyRelease = str | ReleaseBody | OperationBody
"""A release, its id or location, or an operation that is about it."""


class Releases(Resource[S]):
    """`client.releases`."""

    @lists
    def list(
        self, *, model: str | None = None, active: bool | None = None, page_size: int = 100
    ) -> Pages[ReleaseBody]:
        """Newest first; of one model, or those that go on, or have ended."""
        return pages_of(
            "/v1/releases",
            ReleaseList,
            lambda page: page.releases,
            model=model,
            active=active,
            page_size=page_size,
        )

    @asks
    def get(self, release: AnyRelease) -> Steps[ReleaseBody]:
        """With every step and its evidence; ended ones stay."""
        return call(wire.get(_of_release(release)), ReleaseBody)

    @asks
    def begin(
        self,
        model: str,
        version: int,
        *,
        strategy: Strategy | None = None,
        supersede: bool = False,
    ) -> Steps[OperationBody]:
        """Prove a version beside the one that serves, then move the traffic to it.

        `supersede`: a release of the model that goes on is aborted first.

        Raises:
            RejectedVersion: it was refused before; `models.clear_rejection` lets it try again.
            Conflict: it serves already, or another release goes on.
        """
        body = ReleaseRequest(version=version, strategy=strategy or Strategy(), supersede=supersede)
        request = wire.post(
            wire.path("/v1/models/{model}/releases", model=model),
            body,
            wait_s=SUPERSEDED_S if supersede else 0.0,
        )
        return call(request, OperationBody)

    @asks
    def promote(self, release: AnyRelease) -> Steps[OperationBody]:
        """Let it go on where it waits for a person; skip the rest of a shift, or of a soak."""
        return _ask(release, "promote")

    @asks
    def pause(self, release: AnyRelease) -> Steps[OperationBody]:
        """Let it stay where it is; it still goes back when the version fails."""
        return _ask(release, "pause")

    @asks
    def resume(self, release: AnyRelease) -> Steps[OperationBody]:
        """Let it go on after `pause`."""
        return _ask(release, "resume")

    @asks
    def abort(self, release: AnyRelease) -> Steps[OperationBody]:
        """End it with the version before; one that goes back, with the new version."""
        return _ask(release, "abort")

    @asks
    def rollback(self, release: AnyRelease) -> Steps[OperationBody]:
        """Move the traffic back to the version before, unless another release has followed."""
        return _ask(release, "rollback")

    @asks
    def evidence(self, release: AnyRelease) -> Steps[GatheredBody]:
        """All that it has gathered: latencies side by side, outputs, memory, failures."""
        return call(wire.get(_of_release(release, "/evidence")), GatheredBody)

    @follows
    def follow(self, release: AnyRelease, *, patience_s: float = 60.0) -> Feed[ReleaseBody]:
        """It now and after each change, until it has ended.

        The sidecar may be away for `patience_s` meanwhile.
        """
        where = wire.listen_to(_of_release(release, "/stream"))
        return feed_of(where, ReleaseBody, _has_ended, patience_s=patience_s)

    @asks
    def wait(self, release: AnyRelease, *, timeout_s: float) -> Steps[ReleaseBody]:
        """It when it has ended, well or not: `state` and `reason` say how.

        Raises:
            TimedOut: it goes on, or waits for a person.
        """
        found = yield from ended(_of_release(release), reading(ReleaseBody), _has_ended, timeout_s)
        if found.active:
            raise TimedOut(
                f"the release of {found.model} {found.version} is {found.state} after "
                f"{timeout_s:g} s: {found.reason}"
            )
        return found


class Trains(Resource[S]):
    """`client.trains`: many releases, one after the other, until one fails."""

    @lists
    def list(self, *, done: bool | None = None, page_size: int = 100) -> Pages[TrainBody]:
        """Newest first."""
        return pages_of(
            "/v1/trains", TrainList, lambda page: page.trains, done=done, page_size=page_size
        )

    @asks
    def get(self, train: str | TrainBody) -> Steps[TrainBody]:
        """How far it is with each model; ended ones stay."""
        return call(wire.get(_of_train(train)), TrainBody)

    @asks
    def begin(
        self,
        models: Sequence[str] | None = None,
        *,
        strategy: Strategy | None = None,
        at_once: int = 1,
        unserved: bool = False,
    ) -> Steps[TrainBody]:
        """Release the newest version of each; None are all models that have a newer one.

        `unserved`: models that have never served are proven too, ahead of their first request.
        """
        body = TrainRequest(
            models=None if models is None else tuple(models),
            strategy=strategy or Strategy(),
            at_once=at_once,
            unserved=unserved,
        )
        return call(wire.post("/v1/trains", body), TrainBody)

    @asks
    def stop(self, train: str | TrainBody) -> Steps[TrainBody]:
        """Begin nothing more; releases that go on end by themselves."""
        return call(wire.post(_of_train(train, ":stop")), TrainBody)

    @asks
    def wait(self, train: str | TrainBody, *, timeout_s: float) -> Steps[TrainBody]:
        """It when it has ended: `cars` say how each release did.

        Raises:
            TimedOut: it goes on.
        """
        found = yield from ended(_of_train(train), reading(TrainBody), _is_done, timeout_s)
        if not found.done:
            raise TimedOut(f"train {found.id} goes on after {timeout_s:g} s")
        return found


class Operations(Resource[S]):
    """`client.operations`: what takes long, loads and releases."""

    @lists
    def list(
        self, *, model: str | None = None, done: bool | None = None, page_size: int = 100
    ) -> Pages[OperationBody]:
        """Newest first; of one model, or those that go on, or have ended."""
        return pages_of(
            "/v1/operations",
            OperationList,
            lambda page: page.operations,
            model=model,
            done=done,
            page_size=page_size,
        )

    @asks
    def get(self, operation: str | OperationBody) -> Steps[OperationBody]:
        """How far it is; ended ones stay."""
        return call(wire.get(_of_operation(operation)), OperationBody)

    @asks
    def wait(self, operation: str | OperationBody, *, timeout_s: float) -> Steps[OperationBody]:
        """It when it has succeeded.

        Raises:
            OperationFailed: it has ended with an error.
            StillRunning: it goes on; an OperationFailed and a TimedOut.
        """
        found = yield from ended(
            _of_operation(operation), reading(OperationBody), _is_done, timeout_s
        )
        if not found.done:
            raise StillRunning(found, timeout_s)
        if found.error is not None:
            raise OperationFailed(found)
        return found


def _ask(release: AnyRelease, verb: str) -> Steps[OperationBody]:
    return call(wire.post(_of_release(release, f":{verb}")), OperationBody)


def _of_release(release: AnyRelease, part: str = "") -> str:
    """Raises ValueError for an operation that is about none."""
    if isinstance(release, OperationBody):
        if release.release is None:
            raise ValueError(f"operation {release.id} is a {release.kind}, and about no release")
        release = release.release
    name = release if isinstance(release, str) else release.id
    return wire.path("/v1/releases/{release}", release=wire.id_in(name)) + part


def _of_train(train: str | TrainBody, part: str = "") -> str:
    name = train if isinstance(train, str) else train.id
    return wire.path("/v1/trains/{train}", train=wire.id_in(name)) + part


def _of_operation(operation: str | OperationBody) -> str:
    name = operation if isinstance(operation, str) else operation.id
    return wire.path("/v1/operations/{operation}", operation=wire.id_in(name))


def _has_ended(release: ReleaseBody) -> bool:
    return not release.active


def _is_done(found: OperationBody | TrainBody) -> bool:
    return found.done
