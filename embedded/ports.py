"""TCP ports of this machine."""

import contextlib
import errno
import socket
from collections.abc import Iterable


def free_ports(count: int) -> list[int]:
    """Different ports that nobody listens on at 127.0.0.1.

    They are bound at the same time and then closed, so they differ from each other; another
    process can still take one before its user does.
    """
    with contextlib.ExitStack() as stack:
        sockets = [
            stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            for _ in range(count)
        ]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def taken_ports(ports: Iterable[int]) -> list[int]:
    """Those at which somebody listens on 127.0.0.1 or on all addresses."""
    taken = []
    for port in ports:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            # As servers do: connections that are still closing are no obstacle.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                taken.append(port)
    return taken


def accepts(port: int) -> bool:
    """Whether a connection to 127.0.0.1 comes about."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
    except OSError:
        return False
    return True
