import pytest

from contract.manifest import ShapeCost
from generator.checks.measurements import quietest, runs_until_steady
from generator.reports import ProbeReport


@pytest.mark.parametrize(
    ("times_ms", "runs"),
    [
        ([10.0, 10.0, 10.0, 10.0], 1),
        ([400.0, 10.0, 10.0, 10.0, 10.0, 10.0], 1),
        ([400.0, 90.0, 30.0, 10.0, 11.0, 10.0, 10.0, 10.0], 3),
        ([0.76, 0.05, 0.04, 0.03, 0.03, 0.03], 1),
        ([1.2, 0.9, 0.6, 0.03, 0.03, 0.03, 0.03, 0.03], 3),
        ([10.0, 10.0, 10.0, 10.0, 90.0, 10.0, 10.0], 1),
    ],
)
def test_counts_the_runs_before_the_first_that_is_as_fast_as_it_gets(
    times_ms: list[float], runs: int
) -> None:
    assert runs_until_steady(times_ms) == runs


def report(load_s: float, memory: int, first_ms: float, runs: int) -> ProbeReport:
    cost = ShapeCost(
        batch=1, dims={}, first_ms=first_ms, steady_ms=first_ms / 2, runs_until_steady=runs
    )
    return ProbeReport(
        private_bytes=memory,
        further_private_bytes=memory,
        shared_bytes=memory,
        peak_bytes=memory,
        load_s=load_s,
        shapes=(cost,),
    )


def test_a_disturbed_probe_changes_nothing() -> None:
    quiet, disturbed = report(0.1, 100, 2.0, 1), report(0.9, 90, 30.0, 4)

    assert quietest([disturbed, quiet]) == quiet
