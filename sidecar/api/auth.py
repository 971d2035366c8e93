"""Who asks, and what they may do: reads want a viewer, everything else an operator."""

import secrets
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from structlog.contextvars import bound_contextvars

from sidecar.errors import Forbidden, InvalidSettings, Unauthenticated
from sidecar.settings import Role, is_loopback

SCHEME = "bearer"
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_bearer = HTTPBearer(
    scheme_name=SCHEME,
    auto_error=False,
    description="A token of `api.tokens`. Without any in the settings nobody has to send one.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """`name` is the actor of what they ask for."""

    name: str
    role: Role

    def may_act_as(self, role: Role) -> bool:
        return self.role in (role, Role.OPERATOR)


ANYBODY = Caller(name="api", role=Role.OPERATOR)


class Callers:
    """The known tokens; without any, every program on this machine is an operator."""

    def __init__(self, tokens: Mapping[Caller, str]) -> None:
        """Raises InvalidSettings when two callers have the same token."""
        by_token = {token: caller for caller, token in tokens.items()}
        if len(by_token) < len(tokens):
            names = ", ".join(sorted(caller.name for caller in tokens))
            raise InvalidSettings(f"among {names}, two have the same token; give each its own")
        self._callers = {token.encode(): caller for token, caller in by_token.items()}

    def admit(self, request: Request) -> Caller:
        """Who asks, when they may.

        Raises:
            Unauthenticated: no token, or an unknown one.
            Forbidden: a viewer wants to change something, or, where there are no tokens, a page
                of another site asks.
        """
        needed = role_for(request.method)
        if not self._callers:
            _refuse_other_sites(request, needed)
            return ANYBODY
        caller = self._identify(request)
        if caller is None:
            raise Unauthenticated("send a token of api.tokens as `Authorization: Bearer TOKEN`")
        if not caller.may_act_as(needed):
            raise Forbidden(
                f"{caller.name} is a {caller.role}; {request.method} needs a token of role "
                f"{needed}",
                role=needed,
            )
        return caller

    def _identify(self, request: Request) -> Caller | None:
        """None for an unknown token. Takes as long for each wrong one."""
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != SCHEME:
            return None
        token = given.strip().encode()
        matching = [
            caller
            for known, caller in self._callers.items()
            if secrets.compare_digest(known, token)
        ]
        return matching[0] if matching else None


def role_for(method: str) -> Role:
    return Role.VIEWER if method.upper() in _SAFE else Role.OPERATOR


def _refuse_other_sites(request: Request, needed: Role) -> None:
    """A browser on this machine reaches us with the pages of all sites that it shows.

    Such a page's own name that leads here (DNS rebinding) is in `Host`, the site that sends a
    change in `Origin`.

    Raises:
        Forbidden: either is not ours.
    """
    host, origin = request.headers.get("host", ""), request.headers.get("origin")
    if not is_loopback(urlsplit(f"//{host}").hostname or ""):
        raise Forbidden(
            f"without api.tokens this API is for this machine alone, not for {host!r}; ask for it "
            "as 127.0.0.1 or localhost, or set api.tokens",
            role=needed,
        )
    if needed is Role.OPERATOR and origin is not None and urlsplit(origin).netloc != host:
        raise Forbidden(
            f"without api.tokens no page of {origin} may change anything; set api.tokens",
            role=needed,
        )


async def authorized(
    request: Request,
    _shown: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> AsyncIterator[Caller]:
    """The caller, whom `guard.Guard` has admitted; what is told meanwhile carries the actor."""
    caller: Caller = request.state.caller
    with bound_contextvars(actor=caller.name):
        yield caller


Authorized = Annotated[Caller, Depends(authorized)]
