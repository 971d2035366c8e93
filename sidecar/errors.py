"""Errors of the sidecar.

SidecarError
├── InvalidSettings       the settings file or a flag says something impossible
├── ServerError           a Triton server did not do what it was asked
│   ├── ServerLost        no answer: down, restarting or not reachable
│   ├── NotExplicit       the server does not run with --model-control-mode=explicit
│   └── Refused           Triton answered with an error; the text is Triton's own
├── Unproven              a version's answer or files are not what they must be
├── StateConflict         somebody else changed a recorded object first
├── StateUnavailable      the state file cannot be read or written
├── RequestRefused        a REST request that is answered with a problem
│   ├── UnknownObject     404: model, version, release or operation
│   ├── Conflict          409: does not fit what is going on
│   └── Impossible        422: can never be done
└── InvariantBroken       a bug of ours; never handled together with the others
"""


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


class Refused(ServerError):
    pass


class Unproven(SidecarError):
    pass


class StateConflict(SidecarError):
    pass


class StateUnavailable(SidecarError):
    pass


class RequestRefused(SidecarError):
    """Carries a stable machine-readable `code` beside the text for people."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class UnknownObject(RequestRefused):
    pass


class Conflict(RequestRefused):
    pass


class Impossible(RequestRefused):
    pass


class InvariantBroken(SidecarError):
    pass
