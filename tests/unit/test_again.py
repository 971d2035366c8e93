"""A test is asked again on servers of its own, and only once."""

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[2]
IN_ORDER = ("-p", "no:randomly")

STORY = """
import pytest

TRIES = []

@pytest.fixture(scope="session")
def machine(tmp_path_factory):
    return tmp_path_factory.mktemp("machine")

@pytest.fixture(scope="module")
def house(machine):
    yield machine
    if len(TRIES) == 1:
        raise OSError("it does not come down")

def test_before(house):
    (house / "before").mkdir()

def test_slips(house):
    TRIES.append(house)
    (house / "version").mkdir()
    assert len(TRIES) > 1, "too slow"

def test_after(house):
    assert not (house / "before").exists()
    assert (house / "version").exists()

def test_is_wrong(house):
    assert False, "never right"

def test_hangs():
    TRIES.append("hung")
    raise TimeoutError("from pytest-timeout")

def test_last(house):
    assert TRIES.count("hung") == 1
    assert not (house / "version").exists()
"""


@pytest.fixture(autouse=True)
def project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.mark.parametrize("workers", [(), ("-n", "1")], ids=["alone", "with xdist"])
def test_a_test_that_fails_is_asked_once_more_with_fresh_fixtures(
    pytester: pytest.Pytester, workers: tuple[str, ...]
) -> None:
    pytester.makepyfile(STORY)

    ran = pytester.runpytest_subprocess(*IN_ORDER, "-p", "tests.again", "--once-more", *workers)

    assert ran.parseoutcomes() == {"passed": 4, "failed": 2, "rerun": 3}
    ran.stdout.fnmatch_lines(["FAILED *test_is_wrong*", "FAILED *test_hangs*"])
    told = ran.stdout.str().split("RERUN ")
    assert ["too slow" in told[1], "come down" in told[2], "never right" in told[3]] == [True] * 3


def test_the_second_try_has_a_time_limit_of_its_own(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import time

        TRIES = []

        def test_hangs_then():
            TRIES.append("asked")
            assert len(TRIES) > 1, "wrong"
            time.sleep(600)
        """
    )

    ran = pytester.runpytest_subprocess("-p", "tests.again", "--once-more", "--timeout", "8")

    assert ran.parseoutcomes() == {"failed": 1, "rerun": 1}
    ran.stdout.fnmatch_lines(["*Timeout (>8.0s) from pytest-timeout*", "*AssertionError: wrong*"])


def test_nothing_is_asked_again_unless_it_is_wanted(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_is_wrong(): assert False")

    ran = pytester.runpytest_subprocess("-p", "tests.again")

    assert ran.parseoutcomes() == {"failed": 1}
