import pytest

from contract.latency import is_as_fast


@pytest.mark.parametrize(
    ("other_ms", "longest_ms"),
    [(10.0, 12.5), (2.0, 2.5), (0.1, 0.6)],
    ids=["the share is more", "both are the same", "the half millisecond is more"],
)
def test_a_share_more_or_half_a_millisecond_makes_no_difference(
    other_ms: float, longest_ms: float
) -> None:
    assert is_as_fast(longest_ms, other_ms, share=0.25)
    assert not is_as_fast(longest_ms + 0.01, other_ms, share=0.25)


def test_less_is_as_fast() -> None:
    assert is_as_fast(1.0, 10.0, share=0.0)
