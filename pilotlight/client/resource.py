"""Methods that are written once, and block or are awaited depending on whose they are.

What a method returns is a description: steps, pages or a feed. The shell of the client that it
is called on carries it out.
"""

from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from functools import wraps
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload

from pilotlight.client.shells import AsyncShell, SyncShell
from pilotlight.client.steps import Steps
from pilotlight.client.streams import Feed, Pages

S = TypeVar("S", bound=SyncShell | AsyncShell)
P = ParamSpec("P")
T = TypeVar("T")


class Resource(Generic[S]):
    """Methods of one client, about one kind of thing."""

    def __init__(self, shell: S) -> None:
        self.shell = shell


class asks(Generic[P, T]):  # noqa: N801  (used as `property` is)
    """A method that has one result."""

    def __init__(self, describe: Callable[Concatenate[Any, P], Steps[T]]) -> None:
        self._describe = describe

    @overload
    def __get__(self, owner: Resource[SyncShell], kind: type) -> Callable[P, T]: ...
    @overload
    def __get__(
        self, owner: Resource[AsyncShell], kind: type
    ) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, owner: Resource[Any], kind: type) -> Callable[..., Any]:
        return _bound(owner, self._describe, lambda shell: shell.play)


class lists(Generic[P, T]):  # noqa: N801
    """A method that finds any number of things."""

    def __init__(self, describe: Callable[Concatenate[Any, P], Pages[T]]) -> None:
        self._describe = describe

    @overload
    def __get__(
        self, owner: Resource[SyncShell], kind: type
    ) -> Callable[P, Generator[T, None, None]]: ...
    @overload
    def __get__(
        self, owner: Resource[AsyncShell], kind: type
    ) -> Callable[P, AsyncGenerator[T, None]]: ...
    def __get__(self, owner: Resource[Any], kind: type) -> Callable[..., Any]:
        return _bound(owner, self._describe, lambda shell: shell.pages)


class follows(Generic[P, T]):  # noqa: N801
    """A method that tells what comes in."""

    def __init__(self, describe: Callable[Concatenate[Any, P], Feed[T]]) -> None:
        self._describe = describe

    @overload
    def __get__(
        self, owner: Resource[SyncShell], kind: type
    ) -> Callable[P, Generator[T, None, None]]: ...
    @overload
    def __get__(
        self, owner: Resource[AsyncShell], kind: type
    ) -> Callable[P, AsyncGenerator[T, None]]: ...
    def __get__(self, owner: Resource[Any], kind: type) -> Callable[..., Any]:
        return _bound(owner, self._describe, lambda shell: shell.feed)


def _bound(
    owner: Resource[Any] | None,
    describe: Callable[..., Any],
    verb: Callable[[Any], Callable[[Any], Any]],
) -> Callable[..., Any]:
    """Of a class itself, what was written; that is what documentation shows."""
    if owner is None:
        return describe

    @wraps(describe.__get__(owner))
    def carry_out(*arguments: Any, **named: Any) -> Any:
        return verb(owner.shell)(describe(owner, *arguments, **named))

    return carry_out
