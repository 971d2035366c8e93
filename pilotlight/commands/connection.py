"""How commands reach a running sidecar."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from pilotlight.admin import Admin, AdminError, OperationFailed, Unreachable
from pilotlight.client.client import DEFAULT_URL
from pilotlight.client.errors import Problem, StillRunning, Unauthenticated
from pilotlight.commands.output import CommandFailed, ExitCode

__all__ = ["DEFAULT_URL", "TokenFile", "Url", "asking", "connected"]

AUTHENTICATE = "name the file with your token: --token-file or PILOTLIGHT_TOKEN_FILE"


def _with_scheme(url: str) -> str:
    """As curl has it: `localhost:8080` is http."""
    return url if "://" in url else f"http://{url}"


Url = Annotated[
    str,
    typer.Option(help="The sidecar's address.", envvar="PILOTLIGHT_URL", callback=_with_scheme),
]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        help="File with its bearer token.",
        envvar="PILOTLIGHT_TOKEN_FILE",
        exists=True,
        dir_okay=False,
    ),
]


@contextmanager
def connected(url: str, token_file: Path | None = None) -> Iterator[Admin]:
    """A sidecar to ask.

    Raises:
        CommandFailed: it could not be asked, or it refused.
    """
    try:
        with Admin(url, token_file.read_text().strip() if token_file else None) as admin:
            yield admin
    except AdminError as error:
        raise _failed(error, url, token_file) from error


def asking(function: Callable[..., None]) -> Callable[..., None]:
    """Give a function, as its `admin`, the sidecar that `url` and `token_file` name."""

    @wraps(function)
    def ask(*given: Any, url: str, token_file: Path | None, **options: Any) -> None:
        with connected(url, token_file) as admin:
            function(*given, admin=admin, **options)

    return ask


def _failed(error: AdminError, url: str, token_file: Path | None) -> CommandFailed:
    match error:
        case Unreachable():
            return CommandFailed(
                str(error),
                code="unreachable",
                remedy=f"{url} is {_origin(url)}; name another with --url or PILOTLIGHT_URL",
                exit_code=ExitCode.UNREACHABLE,
            )
        case Problem():
            return CommandFailed(
                str(error),
                code=error.code,
                remedy=_authenticated(token_file) if isinstance(error, Unauthenticated) else None,
                problem=error.body.model_dump(mode="json"),
            )
        case StillRunning():
            return CommandFailed(
                str(error),
                code="still_running",
                remedy=f"`pilotlight operations {error.operation.id}` tells how it ends",
            )
        case OperationFailed():
            return CommandFailed(str(error), code="operation_failed")
        case _:
            return CommandFailed(str(error))


def _authenticated(token_file: Path | None) -> str:
    """What to do about a token that is not there, or that the sidecar does not know."""
    if token_file is None:
        return AUTHENTICATE
    return f"{token_file} holds no token that this sidecar knows; name another with --token-file"


def _origin(url: str) -> str:
    """Who said so."""
    if url == _with_scheme(os.environ.get("PILOTLIGHT_URL", "")):
        return "what PILOTLIGHT_URL says"
    return "the usual address" if url == DEFAULT_URL else "what --url says"
