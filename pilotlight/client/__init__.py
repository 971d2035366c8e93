"""The sidecar's REST API for Python programs.

client     `Client`, whose methods block, and `AsyncClient`, whose methods are awaited
bodies     what the sidecar says, and what it is told
errors     the tree
lazy       for programs that speak to Triton without a gateway: what is not loaded gets loaded

Each method is written once: as steps that yield requests (`steps`, `streams`). `resource` binds
it to one of two shells (`shells`), which have the connections. Needs httpx2 and pydantic alone;
of the environment it reads nothing.
"""

from pilotlight.client import bodies, errors
from pilotlight.client.bodies import Recording, Spec, Steering, Strategy
from pilotlight.client.client import AsyncClient, Client
from pilotlight.client.errors import (
    ClientError,
    Conflict,
    ConnectionLost,
    DeadlinePassed,
    DoesNotFit,
    Forbidden,
    Invalid,
    NotFound,
    NotUnderstood,
    OperationFailed,
    Problem,
    Quarantined,
    RejectedVersion,
    Silent,
    Stale,
    StillRunning,
    TimedOut,
    TooManyWaiting,
    Unauthenticated,
    Unavailable,
    Unreachable,
)

__all__ = [
    "AsyncClient",
    "Client",
    "ClientError",
    "Conflict",
    "ConnectionLost",
    "DeadlinePassed",
    "DoesNotFit",
    "Forbidden",
    "Invalid",
    "NotFound",
    "NotUnderstood",
    "OperationFailed",
    "Problem",
    "Quarantined",
    "Recording",
    "RejectedVersion",
    "Silent",
    "Spec",
    "Stale",
    "Steering",
    "StillRunning",
    "Strategy",
    "TimedOut",
    "TooManyWaiting",
    "Unauthenticated",
    "Unavailable",
    "Unreachable",
    "bodies",
    "errors",
]
