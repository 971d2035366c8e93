"""Errors of the sidecar.

SidecarError
├── InvalidSettings       the settings file or a flag says something impossible
├── ServerError           a Triton server did not do what it was asked
│   ├── ServerLost        no answer: down, restarting or not reachable
│   ├── NotExplicit       the server does not run with --model-control-mode=explicit
│   ├── LockedOut         it wants an admin key, which we lack or have wrong
│   └── Refused           Triton answered with an error; the text is Triton's own
├── StageUnusable         a stage cannot be read or written
├── Unproven              a version's answer or files are not what they must be
├── MeterFailed           memory cannot be measured
├── GatewayError          the gateway does not route as it was told
│   ├── GatewayLost       no answer: down, or its admin port cannot be reached
│   └── GatewayRefused    it rejected what it was told, and keeps what it had
├── PeerLost              another replica's sidecar does not answer
├── StateConflict         somebody else changed a recorded object first
├── StateUnavailable      the state file cannot be read or written
└── RequestRefused        a REST request that is answered with a problem
    ├── Unauthenticated   401: no token, or an unknown one
    ├── Forbidden         403: the caller may not do this
    ├── UnknownObject     404: model, version, release or operation
    ├── Conflict          409: does not fit what is going on
    ├── Stale             412: the object was changed since it was read
    ├── Impossible        422: can never be done
    ├── Quarantined       423: failed too often, and rests
    ├── RejectedVersion   423: was refused in a release, and is what it was
    ├── Unconditional     428: a change that does not say which state it was made for
    ├── TooManyWaiting    429: as many requests as may wait for a model do so
    ├── NotNow            503: the sidecar begins nothing at the moment
    ├── HeldTooLong       503: a request was held for as long as one may be
    ├── TooLate           504: the caller's deadline passed; the work goes on
    └── DoesNotFit        507: too little memory, also without all that may be evicted
InvariantBroken           a bug of ours: in no tree, never handled together with the others
"""

from collections.abc import Sequence
from datetime import UTC, datetime

Member = str | int | float | datetime | Sequence[str]


class SidecarError(Exception):
    """Root of this package's errors."""


class InvalidSettings(SidecarError):
    pass


class ServerError(SidecarError):
    pass


class ServerLost(ServerError):
    pass


class NotExplicit(ServerError):
    pass


class LockedOut(ServerError):
    pass


class Refused(ServerError):
    pass


class StageUnusable(SidecarError):
    pass


class Unproven(SidecarError):
    pass


class MeterFailed(SidecarError):
    pass


class GatewayError(SidecarError):
    pass


class GatewayLost(GatewayError):
    pass


class GatewayRefused(GatewayError):
    pass


class PeerLost(SidecarError):
    pass


class StateConflict(SidecarError):
    pass


class StateUnavailable(SidecarError):
    pass


class RequestRefused(SidecarError):
    """Carries a stable machine-readable `code` beside the text for people.

    `members` are what a program wants to know besides: they become members of the problem.
    """

    def __init__(self, code: str, detail: str, **members: Member) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.members = members


class Unauthenticated(RequestRefused):
    def __init__(self, detail: str) -> None:
        super().__init__("not_authenticated", detail)


class Forbidden(RequestRefused):
    def __init__(self, detail: str, *, role: str) -> None:
        """`role` is the one that is needed."""
        super().__init__("forbidden", detail, role=role)


class UnknownObject(RequestRefused):
    pass


class Conflict(RequestRefused):
    pass


class Stale(RequestRefused):
    def __init__(self, detail: str) -> None:
        super().__init__("stale", detail)


class Impossible(RequestRefused):
    pass


class Quarantined(RequestRefused):
    def __init__(self, detail: str, *, until_s: float | None) -> None:
        """`until_s` is in seconds since 1970; None: until somebody clears it."""
        ends = {} if until_s is None else {"until": datetime.fromtimestamp(until_s, tz=UTC)}
        super().__init__("quarantined", detail, **ends)


class RejectedVersion(RequestRefused):
    def __init__(self, model: str, version: int, reason: str, release: str) -> None:
        super().__init__(
            "version_rejected",
            f"version {version} of {model} was refused in release {release}: "
            f"{reason.rstrip(' ;')}; publish what mends it under a new number, or clear its "
            "rejection to try again as it is",
            rejected_by=release,
        )


class Unconditional(RequestRefused):
    def __init__(self, detail: str) -> None:
        super().__init__("precondition_required", detail)


class NotNow(RequestRefused):
    def __init__(self, detail: str) -> None:
        super().__init__("not_now", detail)


class TooLate(RequestRefused):
    def __init__(self, detail: str) -> None:
        super().__init__("deadline_passed", detail)


class TooManyWaiting(RequestRefused):
    def __init__(self, detail: str, *, retry_after_s: float) -> None:
        super().__init__("too_many_waiting", detail, retry_after_s=retry_after_s)


class HeldTooLong(RequestRefused):
    def __init__(self, detail: str, *, retry_after_s: float) -> None:
        super().__init__("held_too_long", detail, retry_after_s=retry_after_s)


class DoesNotFit(RequestRefused):
    def __init__(
        self,
        detail: str,
        *,
        device: str,
        needed_bytes: int,
        free_bytes: int,
        evictable_bytes: int,
        blocked_by: Sequence[str],
    ) -> None:
        """`blocked_by` names who holds memory and may not be evicted, with the reason."""
        super().__init__(
            "insufficient_memory",
            detail,
            device=device,
            needed_bytes=needed_bytes,
            free_bytes=free_bytes,
            evictable_bytes=evictable_bytes,
            blocked_by=blocked_by,
        )


class InvariantBroken(Exception):
    pass
