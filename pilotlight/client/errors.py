"""What can go wrong between a program and the sidecar.

    ClientError
    ├── Unreachable             nobody answers, or no longer
    │   ├── ConnectionLost      before the answer: what was asked may have been done
    │   └── Silent              the answer takes too long; also a TimedOut
    ├── NotUnderstood           the answer is not a sidecar's, or one of another release
    ├── TimedOut                something takes longer than it was given
    ├── OperationFailed         a long action ended without success
    │   └── StillRunning        it goes on; also a TimedOut
    └── Problem                 the sidecar refuses, and says why: RFC 9457
        ├── Unauthenticated     401
        ├── Forbidden           403
        ├── NotFound            404
        ├── Conflict            409
        │   └── Stale           412: somebody else changed it meanwhile
        ├── Invalid             400, 413, 415, 422
        ├── Quarantined         423: the model rests after failures, until `body.until`
        ├── RejectedVersion     423: the version was refused before, by `body.rejected_by`
        ├── TooManyWaiting      429
        ├── Unavailable         503: ask again later
        ├── DeadlinePassed      504; also a TimedOut
        └── DoesNotFit          507: `body` has the numbers

A problem whose code is unknown here, because the sidecar is newer, has the class of its status.
"""

from pilotlight.client.bodies import OperationBody, ProblemBody


class ClientError(Exception):
    """The root of the tree."""


class Unreachable(ClientError):
    """Nobody answers, or no longer."""


class ConnectionLost(Unreachable):
    """The connection broke before the answer: what was asked may have been done."""


class NotUnderstood(ClientError):
    """The answer is not a sidecar's, or one of another release."""


class TimedOut(ClientError):
    """Something takes longer than it was given."""


class Silent(Unreachable, TimedOut):
    """The sidecar has the request, and takes too long to answer."""


class OperationFailed(ClientError):
    """A long action ended without success."""

    def __init__(self, operation: OperationBody) -> None:
        super().__init__(operation)
        self.operation = operation

    def __str__(self) -> str:
        return f"{self.operation.kind} of {self.operation.model}: {self.operation.error}"


class StillRunning(OperationFailed, TimedOut):
    """A long action goes on after all the time that it was given."""

    def __init__(self, operation: OperationBody, timeout_s: float) -> None:
        super().__init__(operation)
        self.timeout_s = timeout_s

    def __reduce__(self) -> tuple[type["StillRunning"], tuple[OperationBody, float]]:
        return StillRunning, (self.operation, self.timeout_s)

    def __str__(self) -> str:
        now = self.operation
        waits = "" if now.waits_for is None else f" and waits for {now.waits_for}"
        return (
            f"{now.kind} of {now.model} goes on after {self.timeout_s:g} s{waits}; "
            f"look at {now.location}"
        )


class Problem(ClientError):
    """The sidecar refuses. `body` has all that it says, the numbers included."""

    def __init__(self, body: ProblemBody) -> None:
        super().__init__(body)
        self.body = body

    def __str__(self) -> str:
        return f"{self.status} {self.code}: {self.detail}"

    @property
    def status(self) -> int:
        """Of HTTP."""
        return self.body.status

    @property
    def code(self) -> str:
        """For programs: it never changes its meaning."""
        return self.body.code

    @property
    def title(self) -> str:
        """What all problems of this code have in common."""
        return self.body.title

    @property
    def detail(self) -> str:
        """For people: what is wrong, with names and numbers, and what to do."""
        return self.body.detail


class Unauthenticated(Problem):
    """There is no token, or an unknown one."""


class Forbidden(Problem):
    """The caller may not do this; `body.role` may."""


class NotFound(Problem):
    """There is no such model, version, release, operation or train."""


class Conflict(Problem):
    """It is not possible as things are."""


class Stale(Conflict):
    """Somebody else changed it since it was read: read it again."""


class Invalid(Problem):
    """The request makes no sense; `body.errors` says where."""


class Quarantined(Problem):
    """The model rests after failures, until `body.until`; None: until a person ends it."""


class RejectedVersion(Problem):
    """The version was refused before, by `body.rejected_by`."""


class TooManyWaiting(Problem):
    """Too many requests wait; ask again after `body.retry_after_s`."""


class Unavailable(Problem):
    """The sidecar cannot answer now."""


class DeadlinePassed(Problem, TimedOut):
    """The sidecar has waited for as long as it was told."""


class DoesNotFit(Problem):
    """Not enough memory: `body.needed_bytes` of `body.free_bytes`, and who is in the way."""


_BY_CODE: dict[str, type[Problem]] = {
    "changed_meanwhile": Stale,
    "quarantined": Quarantined,
    "version_rejected": RejectedVersion,
    "hot_models_do_not_fit": DoesNotFit,
}
_BY_STATUS: dict[int, type[Problem]] = {
    400: Invalid,
    401: Unauthenticated,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    412: Stale,
    413: Invalid,
    415: Invalid,
    422: Invalid,
    429: TooManyWaiting,
    503: Unavailable,
    504: DeadlinePassed,
    507: DoesNotFit,
}


def problem_of(body: ProblemBody) -> Problem:
    kind = _BY_CODE.get(body.code) or _BY_STATUS.get(body.status, Problem)
    return kind(body)
