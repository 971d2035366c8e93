"""The log lines are what tritonserver 2.51 and the dynamic linker print."""

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
    ],
)
def test_a_known_line_gives_its_cause(line: str, cause: str) -> None:
    found = likely_cause(f'I1121 "Collecting CPU metrics"\n{line}\nI1121 more\n')

    assert found is not None
    assert cause in found


@pytest.mark.parametrize("log", ["", "Signal (15) received.", 'I1121 "Started HTTPService"'])
def test_an_ordinary_log_gives_none(log: str) -> None:
    assert likely_cause(log) is None
