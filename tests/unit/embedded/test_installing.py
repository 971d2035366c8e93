import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from embedded.errors import ProvisionFailed
from embedded.installing import installed, read_stamp, run, write_stamp

PINS = ("tool==2",)


def find(home: Path) -> Path | None:
    return home / "tool" if read_stamp(home, PINS) else None


def fill_with(text: str) -> Callable[[Path], None]:
    def fill(home: Path) -> None:
        (home / "tool").write_text(text)
        write_stamp(home, PINS)

    return fill


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_folder_is_filled_once(tmp_path: Path) -> None:
    with installed(tmp_path / "home", find, fill_with("first")) as tool:
        assert tool.read_text() == "first"

    with installed(tmp_path / "home", find, fill_with("second")) as tool:
        assert tool == tmp_path / "home" / "tool"
        assert tool.read_text() == "first"


def test_other_pins_replace_the_whole_folder(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "leftover").touch()
    write_stamp(home, ["tool==1"])

    with installed(home, find, fill_with("new")) as tool:
        assert tool.read_text() == "new"

    assert names(home) == {"tool", "stamp.json"}


def test_a_failure_keeps_the_old_folder_and_leaves_nothing_half_done(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    write_stamp(home, ["tool==1"])

    def fail(building: Path) -> None:
        (building / "half").touch()
        run(["sh", "-c", "echo no route; exit 3"], "plug in the cable")

    with (
        pytest.raises(ProvisionFailed, match=r"ended with 3; plug in the cable:\nno route"),
        installed(home, find, fail),
    ):
        pass

    assert names(tmp_path) == {"home", "home.lock"}
    assert read_stamp(home, ["tool==1"]) is not None


def test_what_an_interrupted_installation_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".home.abc.building").mkdir()

    with installed(tmp_path / "home", find, fill_with("new")):
        assert names(tmp_path) == {"home", "home.lock"}


def test_a_folder_that_is_incomplete_when_filled_is_an_error(tmp_path: Path) -> None:
    with (
        pytest.raises(ProvisionFailed, match="home is incomplete just after its installation"),
        installed(tmp_path / "home", find, lambda building: None),
    ):
        pass


def test_who_wants_the_same_folder_waits_and_finds_it_filled(tmp_path: Path) -> None:
    home = tmp_path / "home"
    seen: list[str] = []

    def second() -> None:
        with installed(home, find, fill_with("second")) as tool:
            seen.append(tool.read_text())

    waiting = threading.Thread(target=second)
    with installed(home, find, fill_with("first")) as tool:
        waiting.start()
        waiting.join(timeout=0.2)
        assert seen == []
        tool.write_text("finished")
    waiting.join()

    assert seen == ["finished"]


def test_a_stamp_keeps_its_facts(tmp_path: Path) -> None:
    write_stamp(tmp_path, PINS, python={"version": "3.11"})

    stamp = read_stamp(tmp_path, PINS)

    assert stamp == {"pins": ["tool==2"], "python": {"version": "3.11"}}
    assert read_stamp(tmp_path / "nowhere", PINS) is None
