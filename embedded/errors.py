"""Errors of the embedded servers.

EmbeddedError
├── ProvisionFailed    a server or its Python could not be installed on this machine
├── BootstrapRefused   Envoy does not take its configuration; carries Envoy's own words
├── ServerDidNotStart  a server ended, or did not answer in time; carries its last log lines
├── NotStarted         a process was asked for its pid before its first start
└── DidNotEnd          processes outlive SIGKILL
"""


class EmbeddedError(Exception):
    """Root of this package's errors."""


class ProvisionFailed(EmbeddedError):
    pass


class BootstrapRefused(EmbeddedError):
    pass


class ServerDidNotStart(EmbeddedError):
    pass


class NotStarted(EmbeddedError):
    pass


class DidNotEnd(EmbeddedError):
    pass
