"""TCP ports of this machine."""

import errno
import random
import socket
from collections.abc import Iterable
from itertools import islice

_QUIET_PORTS = range(10_000, 32_000)
"""Linux gives none of them to a connection, nor to who binds port 0."""
_chance = random.SystemRandom()


def free_ports(count: int) -> list[int]:
    """Different ports that nobody listens on at 127.0.0.1.

    Another process can still take one before its user does, if it chooses the same of many.
    """
    drawn = _chance.sample(_QUIET_PORTS, len(_QUIET_PORTS))
    return list(islice((port for port in drawn if not taken_ports([port])), count))


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
