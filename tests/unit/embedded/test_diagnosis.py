"""The log lines are what tritonserver 2.51, Envoy 1.40 and the dynamic linker print."""

import pytest

from embedded.diagnosis import likely_cause


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        (
            'E1121 01:05:48 main.cc:245] "failed to start GRPC service: Unavailable - '
            "Socket '127.0.0.1:47903' already in use \"",
            "127.0.0.1:47903 is taken",
        ),
        (
            "triton_python_backend_stub: error while loading shared libraries: "
            "libpython3.11.so.1.0: cannot open shared object file: No such file or directory",
            "apt-get install libpython3.11",
        ),
        (
            "tritonserver: /lib/x86_64-linux-gnu/libc.so.6: version `GLIBC_2.34' not found "
            "(required by tritonserver)",
            "this system is older than GLIBC_2.34",
        ),
        (
            "tritonserver: error while loading shared libraries: libcudart-09529672.so.12.6.77: "
            "cannot open shared object file: No such file or directory",
            "library libcudart-09529672.so.12.6.77 is missing",
        ),
        (
            "error: creating server: Internal - failed to stat file /srv/models",
            "there is no /srv/models",
        ),
        (
            "error: creating server: Invalid argument - repository path is not a valid directory",
            "the model repository is no folder",
        ),
        ("Signal (11) received.", "crashed with signal 11"),
        (
            "[critical][main] [source/server/server.cc:449] error `cannot bind '127.0.0.1:8000': "
            "Address already in use` initializing config 'goo.gle/debugstr\n  bootstrap.json'",
            "127.0.0.1:8000 is taken",
        ),
        (
            "[critical][backtrace] [./source/server/backtrace.h:173] Caught Segmentation fault, "
            "suspect faulting address 0x0",
            "Envoy crashed: Segmentation fault",
        ),
        ("error `Invalid path: /srv/b.json` initializing config '", "there is no /srv/b.json,"),
        (
            "error `paths must refer to an existing path in the system: '/srv/cds.json' does not "
            "exist` initializing config 'goo.gle/debugstr\n  bootstrap.json'",
            "there is no /srv/cds.json,",
        ),
        (
            "error `Unable to parse JSON as proto (INVALID_ARGUMENT: invalid JSON in Bootstrap, "
            """near 3:1 (offset 20): expected ','): {"a": [1\n}\n` initializing config '""",
            "can read: INVALID_ARGUMENT: invalid JSON in Bootstrap, near 3:1 (offset 20): "
            "expected ','",
        ),
        (
            "error `Unable to parse JSON as proto (INVALID_ARGUMENT: unexpected EOF): \n` "
            "initializing config '",
            "can read: INVALID_ARGUMENT: unexpected EOF",
        ),
        (
            "error `Protobuf message (type Bootstrap reason INVALID_ARGUMENT: near 1:758 (offset "
            "757):  no such   field: 'nope') has unknown fields` initializing config '",
            "bootstrap: Protobuf message (type Bootstrap reason INVALID_ARGUMENT: near 1:758 "
            "(offset 757): no such field: 'nope') has unknown fields",
        ),
        (
            'error `goo.gle/debugonly\nadmin {\n  name: ""\n}\n: Proto constraint validation '
            "failed (Name: value length must be at least 1 characters)` initializing config '",
            "bootstrap: Proto constraint validation failed (Name: value length must be",
        ),
        (
            "[filesystem_subscription_impl.cc:81] Filesystem config update rejected: Protobuf "
            "message (type DiscoveryResponse) has unknown fields",
            "Envoy refuses a file that its bootstrap names: Protobuf message",
        ),
    ],
)
def test_a_known_line_gives_its_cause(line: str, cause: str) -> None:
    found = likely_cause(f'I1121 "Collecting CPU metrics"\n{line}\nI1121 more\n')

    assert found is not None
    assert cause in found


@pytest.mark.parametrize(
    "log",
    [
        "",
        "Signal (15) received.",
        'I1121 "Started HTTPService"',
        "[warning][main] [source/server/server.cc:1028] caught ENVOY_SIGTERM",
    ],
)
def test_an_ordinary_log_gives_none(log: str) -> None:
    assert likely_cause(log) is None
