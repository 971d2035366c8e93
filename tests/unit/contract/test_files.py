"""Every file of a version that cannot be read says whether the version is to blame."""

from collections.abc import Callable
from pathlib import Path

import pytest

from contract.config import read_config
from contract.dtypes import Datatype
from contract.errors import ArtifactUnreadable, InvalidArtifact
from contract.intent import Intent, read_intent
from contract.layout import Store, VersionFolder
from contract.manifest import damaged_files, read_manifest
from contract.samples import read_golden
from contract.warmup import read_element
from tests.builders import publish
from tests.hindered import hindered, out_of_files

Read = Callable[[VersionFolder], object]

READERS: dict[str, Read] = {
    "config.pbtxt": lambda files: read_config(files.config),
    "manifest.json": lambda files: read_manifest(files.manifest),
    "golden.npz": lambda files: read_golden(files.golden),
    "warmup/x.bin": lambda files: read_element(files.warmup / "x.bin", Datatype.FP32, [2]),
}


@pytest.fixture
def files(tmp_path: Path) -> VersionFolder:
    store = Store(tmp_path)
    publish(store, "m", 1, tier="hot")
    return store.version("m", 1)


@pytest.mark.parametrize(("name", "read"), list(READERS.items()))
def test_a_file_that_is_not_there_speaks_against_its_version(
    files: VersionFolder, name: str, read: Read
) -> None:
    (files.path / name).unlink()

    with pytest.raises(InvalidArtifact, match=rf"{name} cannot be read: .*No such file") as caught:
        read(files)

    assert "build the version again with `make repo`" in str(caught.value)
    assert not isinstance(caught.value, ArtifactUnreadable)


@pytest.mark.parametrize(("name", "read"), list(READERS.items()))
def test_a_file_that_the_system_does_not_let_be_read_says_nothing_of_its_version(
    files: VersionFolder, name: str, read: Read
) -> None:
    read(files)
    with (
        out_of_files(),
        pytest.raises(ArtifactUnreadable, match=rf"{name} cannot be read: .*Too many") as caught,
    ):
        read(files)

    assert "build the version again" not in str(caught.value)
    read(files)


def test_files_are_not_damaged_because_they_cannot_be_read(files: VersionFolder) -> None:
    manifest = read_manifest(files.manifest)
    with hindered(files.golden), pytest.raises(ArtifactUnreadable, match=r"golden\.npz cannot be"):
        damaged_files(manifest, files.path)

    assert damaged_files(manifest, files.path) == []


def test_an_intent_that_cannot_be_read_is_not_the_default(files: VersionFolder) -> None:
    path = Store(files.path.parents[1]).intent("m")
    with hindered(path), pytest.raises(ArtifactUnreadable, match=r"pilotlight\.json cannot be"):
        read_intent(path)

    assert read_intent(path) != Intent()


def test_a_config_that_is_not_utf_8_speaks_against_its_version(files: VersionFolder) -> None:
    files.config.write_bytes(b'name: "\xe9"')

    with pytest.raises(InvalidArtifact, match=r"config\.pbtxt is not UTF-8: .*`make repo`"):
        read_config(files.config)
