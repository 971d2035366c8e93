"""What `pilotlight up` refuses before it installs or starts anything."""

import subprocess
import sys
from pathlib import Path

import pytest

from contract.lock import hold


def up(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """In an empty folder with an empty store: only what is refused at once ends soon."""
    (folder / "store").mkdir()
    command = [sys.executable, "-m", "pilotlight", "up", "--store", "store", "--home", "home"]
    return subprocess.run(
        [*command, *arguments], capture_output=True, text=True, check=False, cwd=folder, timeout=60
    )


def test_a_folder_that_is_held_is_named_with_its_holder_and_a_remedy(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    with hold(home / "up.lock"):
        done = up(tmp_path)

    assert (done.returncode, done.stdout) == (1, "")
    assert f"{home} is the folder of another `pilotlight up`, process " in done.stderr
    assert "`--home FOLDER --ports free`" in done.stderr
    assert [path.name for path in home.iterdir()] == ["up.lock"]


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--settings", "own.yaml"], 1, "settings own.yaml cannot be read: No such file"),
        (["--budget", "600MiB"], 2, "Write for example '--budget cpu=600MiB'"),
        (["--soak", "60"], 2, "'60' is no duration; write for example '30s'"),
    ],
)
def test_what_cannot_be_understood_is_said_at_once(
    tmp_path: Path, arguments: list[str], code: int, told: str
) -> None:
    done = up(tmp_path, *arguments)

    words = " ".join(line.strip("│ ") for line in done.stderr.splitlines())
    assert (done.returncode, told in words) == (code, True), done.stderr
    assert not (tmp_path / "home").exists()


def test_a_folder_that_cannot_be_written_is_named_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file stands here")
    done = up(tmp_path)

    assert (done.returncode, done.stdout) == (1, "")
    assert f"{tmp_path / 'home'} cannot be written: File exists; give a folder" in done.stderr
    assert "Traceback" not in done.stderr
