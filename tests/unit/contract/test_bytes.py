import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from contract.bytes import Size, format_bytes, parse_bytes

SIZES = TypeAdapter[int](Size)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("0", 0),
        ("700", 700),
        ("700B", 700),
        ("9007199254740993", 2**53 + 1),
        ("3kB", 3_000),
        ("3MB", 3_000_000),
        ("1.5 GB", 1_500_000_000),
        ("2KiB", 2_048),
        ("2MiB", 2 * 2**20),
        (" 12GiB ", 12 * 2**30),
        ("0.5TiB", 2**39),
    ],
)
def test_a_size_is_a_number_with_a_unit(text: str, count: int) -> None:
    assert parse_bytes(text) == count


@pytest.mark.parametrize("text", ["", "GiB", "12gib", "12 Gb", "-1", "1e9", "1,5GB", "12GiB!"])
def test_what_is_no_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no size; write for example '12GiB'") as refused:
        parse_bytes(text)
    assert repr(text) in str(refused.value)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (12 * 2**30, "12.0 GiB"),
        (3 * 2**40, "3.0 TiB"),
        (-2 * 2**20, "-2.0 MiB"),
    ],
)
def test_a_size_is_shown_in_the_largest_unit_that_fits(count: int, text: str) -> None:
    assert format_bytes(count) == text


@given(st.integers(0, 2**50))
def test_what_is_shown_is_read_back_to_the_digit_shown(count: int) -> None:
    assert parse_bytes(format_bytes(count)) == pytest.approx(count, rel=0.05)


@pytest.mark.parametrize("written", ["12GiB", 12 * 2**30, "12884901888"])
def test_a_file_may_write_a_size_as_text_or_as_a_number(written: object) -> None:
    assert SIZES.validate_python(written) == 12 * 2**30


@pytest.mark.parametrize("written", [0, "0", -1, "12 Gb", None, [12]])
def test_a_file_may_not_write_what_is_no_size(written: object) -> None:
    with pytest.raises(ValidationError):
        SIZES.validate_python(written)
