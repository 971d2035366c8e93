from pathlib import Path

import pytest

from contract.errors import InvalidVersion
from contract.layout import MAX_VERSION, Store, is_model_name, parse_version


@pytest.mark.parametrize(("text", "version"), [("1", 1), ("27", 27), (str(2**63 - 1), MAX_VERSION)])
def test_a_version_is_a_positive_number(text: str, version: int) -> None:
    assert parse_version(text) == version


@pytest.mark.parametrize(
    "text", ["", "0", "01", "-1", "+1", "1.0", " 1", "1\n", "2abc", "1e3", "٣", str(2**63)]
)
def test_whatever_triton_would_misread_is_no_version(text: str) -> None:
    with pytest.raises(InvalidVersion, match="is not a positive integer without leading zeros"):
        parse_version(text)


@pytest.mark.parametrize("name", ["m", "M_1", "a.b-c", "9lives", "m--v2"])
def test_a_model_name_is_safe_in_paths_and_urls(name: str) -> None:
    assert is_model_name(name)


@pytest.mark.parametrize("name", ["", ".hidden", "..", "a/b", "a b", "-x", "m\n", "a:load", "ä"])
def test_other_names_are_none(name: str) -> None:
    assert not is_model_name(name)


def test_a_store_lists_complete_versions_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    """Neither staging folders, nor links at the model's root, nor what Triton misreads."""
    for name in ("2", "10", "9", ".tmp-11", "3.tmp", "007", "-5", "99999999999999999999"):
        (tmp_path / "m" / name).mkdir(parents=True)
        (tmp_path / "m" / name / "manifest.json").touch()
    (tmp_path / "m" / "12").mkdir()
    (tmp_path / "m" / "config.pbtxt").symlink_to("10/config.pbtxt")

    assert Store(tmp_path).versions("m") == (2, 9, 10)


def test_a_store_lists_models_that_have_a_complete_version(tmp_path: Path) -> None:
    for name in ("b", "a", ".staging", "bad name"):
        (tmp_path / name / "1").mkdir(parents=True)
        (tmp_path / name / "1" / "manifest.json").touch()
    (tmp_path / "half" / "1").mkdir(parents=True)
    (tmp_path / "README.md").touch()

    assert list(Store(tmp_path).models()) == ["a", "b"]


def test_a_store_that_is_not_there_is_empty(tmp_path: Path) -> None:
    store = Store(tmp_path / "nowhere")

    assert list(store.models()) == []
    assert store.versions("m") == ()
