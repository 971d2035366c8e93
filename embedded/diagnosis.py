"""What a server's log says about why it did not start."""

import re

# First match wins; `{0}` is the match's first group.
_CAUSES = (
    (
        r"'(\S+)'(?:: Address)? already in use",
        "{0} is taken by another process; choose another port or stop what listens there",
    ),
    (
        r"(libpython3\.\d+)\.so\S*: cannot open shared object file",
        "{0} is missing; on Debian and Ubuntu: apt-get install {0}",
    ),
    (
        r"version `(GLIBC\w*_[\d.]+)' not found",
        "this system is older than {0}; tritonserver needs Debian 12, Ubuntu 22.04 or newer",
    ),
    (
        r"error while loading shared libraries: ([^:\s]+)",
        "the library {0} is missing; delete the installation and provision it again",
    ),
    (
        r"failed to stat file (\S+)",
        "the model repository cannot be read, there is no {0}; make the folder",
    ),
    (
        r"repository path is not a valid directory",
        "the model repository is no folder",
    ),
    (
        r"Signal \((6|11)\) received",
        "tritonserver crashed with signal {0}; the log has its stack",
    ),
    (
        r"\[backtrace\].* Caught (Segmentation fault|Aborted|Bus error)",
        "Envoy crashed: {0}; the log has its stack",
    ),
    (
        r"`(?:Invalid path: |paths must refer to an existing path in the system: ')([^`']+)",
        "there is no {0}, of which Envoy reads its configuration; write it before the start",
    ),
    (
        r"(?m)Unable to parse JSON as proto \((.+?)\): *(?:[{\[]|$)",
        "the bootstrap is no JSON that Envoy can read: {0}",
    ),
    (
        r"(?:: )?([^`\n]+)` initializing config",
        "Envoy cannot start from its bootstrap: {0}",
    ),
    (
        r"Filesystem config update rejected: (.+)",
        "Envoy refuses a file that its bootstrap names: {0}",
    ),
)


def likely_cause(log: str) -> str | None:
    """Cause and remedy in one line; None when the log names none that we know."""
    for pattern, cause in _CAUSES:
        if found := re.search(pattern, log):
            # Protobuf puts spaces into its messages at random, lest programs rely on them.
            return " ".join(cause.format(*found.groups()).split())
    return None
