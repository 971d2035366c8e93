from pathlib import Path

import pytest

from generator.config.labels import check_labels, write_labels
from generator.errors import ConfigRefused
from tests.golden.cases import output
from tests.unit.generator.entries import entry

MODEL = entry(outputs=[{"name": "kind", "labels": "names/kinds.txt"}, "score"])


@pytest.fixture
def version(tmp_path: Path) -> Path:
    (tmp_path / "names").mkdir()
    (tmp_path / "names/kinds.txt").write_text("cat\ndog\n")
    (tmp_path / "version").mkdir()
    write_labels(MODEL, tmp_path, tmp_path / "version")
    return tmp_path / "version"


def test_labels_lie_where_the_config_says(version: Path) -> None:
    """`tests/golden/labels.pbtxt` says `labels/kind.txt`."""
    assert (version / "labels/kind.txt").read_text() == "cat\ndog\n"


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigRefused, match=r"labels names/kinds\.txt cannot be read: No such"):
        write_labels(MODEL, tmp_path, tmp_path)


@pytest.mark.parametrize("classes", [2, -1])
def test_as_many_lines_as_classes_are_right(version: Path, classes: int) -> None:
    check_labels(MODEL, [output("kind", -1, classes), output("score", -1, 1)], version)


def test_a_class_without_a_line_is_refused(version: Path) -> None:
    with pytest.raises(ConfigRefused, match=r"kind has shape \[-1, 3\], .* has 2 lines"):
        check_labels(MODEL, [output("kind", -1, 3)], version)
