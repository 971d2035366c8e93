import os
import subprocess
import threading
from pathlib import Path

import pytest

from contract.intent import Intent, Tier, read_intent
from contract.layout import Store
from generator import publish
from generator.errors import PublishFailed


def built(folder: Path, content: str = "weights") -> Path:
    """A complete version, ready to be published; no file needs to mean anything."""
    (folder / "warmup").mkdir(parents=True)
    for name in ("config.pbtxt", "manifest.json", "model.onnx", "warmup/ids.bin"):
        (folder / name).write_text(f"{name} {content}")
    return folder


def tree(root: Path) -> dict[str, str]:
    """Everything below `root`: files with contents, links with targets, folders."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        else:
            found[name] = path.read_text() if path.is_file() else "folder"
    return found


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def test_a_first_version_is_complete_and_linked(store: Store, tmp_path: Path) -> None:
    publish.publish(store, "m", 1, built(tmp_path / "new"), intent=Intent(tier=Tier.HOT))

    assert tree(store.root) == {
        "m": "folder",
        "m/1": "folder",
        "m/1/config.pbtxt": "config.pbtxt weights",
        "m/1/manifest.json": "manifest.json weights",
        "m/1/model.onnx": "model.onnx weights",
        "m/1/warmup": "folder",
        "m/1/warmup/ids.bin": "warmup/ids.bin weights",
        "m/config.pbtxt": "-> 1/config.pbtxt",
        "m/pilotlight.json": '{"tier":"hot"}\n',
        "m/warmup": "-> 1/warmup",
    }


def test_the_links_follow_the_newest_version_not_the_latest_build(
    store: Store, tmp_path: Path
) -> None:
    for version in (1, 10, 2):
        publish.publish(store, "m", version, built(tmp_path / f"new{version}"), intent=None)

    assert store.versions("m") == (1, 2, 10)
    assert (store.model("m") / "config.pbtxt").readlink() == Path("10/config.pbtxt")
    assert (store.model("m") / "warmup").readlink() == Path("10/warmup")


def test_a_recipe_without_tier_leaves_the_tier_alone(store: Store, tmp_path: Path) -> None:
    publish.publish(store, "m", 1, built(tmp_path / "a"), intent=Intent(tier=Tier.HOT))
    publish.publish(store, "m", 2, built(tmp_path / "b"), intent=None)

    assert read_intent(store.intent("m")) == Intent(tier=Tier.HOT)


def test_never_replaces_a_version(store: Store, tmp_path: Path) -> None:
    publish.publish(store, "m", 1, built(tmp_path / "a"), intent=None)
    before = tree(store.root)

    with pytest.raises(PublishFailed, match="m could not be published") as failed:
        publish.publish(
            store, "m", 1, built(tmp_path / "b", "others"), intent=Intent(tier=Tier.HOT)
        )

    assert "the folder exists" in str(failed.value)
    assert tree(store.root) == before


def test_a_failed_first_version_leaves_nothing_behind(store: Store, tmp_path: Path) -> None:
    new = built(tmp_path / "new")
    (new / "model.onnx").unlink()
    (new / "model.onnx").symlink_to("gone")

    with pytest.raises(PublishFailed):
        publish.publish(store, "m", 1, new, intent=Intent(tier=Tier.HOT))

    assert not store.root.exists()


def test_refresh_changes_the_tier_and_repairs_links(store: Store, tmp_path: Path) -> None:
    publish.publish(store, "m", 1, built(tmp_path / "new"), intent=Intent(tier=Tier.COLD))
    (store.model("m") / "config.pbtxt").unlink()

    publish.refresh(store, "m", intent=Intent(tier=Tier.HOT))

    assert read_intent(store.intent("m")) == Intent(tier=Tier.HOT)
    assert (store.model("m") / "config.pbtxt").readlink() == Path("1/config.pbtxt")


def test_refresh_touches_nothing_that_is_right(store: Store, tmp_path: Path) -> None:
    publish.publish(store, "m", 1, built(tmp_path / "new"), intent=Intent(tier=Tier.COLD))
    before = store.model("m").stat().st_mtime_ns

    publish.refresh(store, "m", intent=Intent(tier=Tier.COLD))
    publish.refresh(store, "m", intent=None)

    assert store.model("m").stat().st_mtime_ns == before


def test_removes_what_dead_builders_left_and_nothing_else(store: Store) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    for name in (f".tmp-3-{gone.pid}", f".tmp-4-{os.getpid()}", ".tmp-5", "3"):
        (store.root / "m" / name / "version").mkdir(parents=True)
    (store.root / "never_finished" / f".tmp-1-{gone.pid}").mkdir(parents=True)

    publish.remove_leftovers(store)

    assert [path.name for path in store.root.iterdir()] == ["m"]

    assert {path.name for path in (store.root / "m").iterdir()} == {
        f".tmp-4-{os.getpid()}",
        ".tmp-5",
        "3",
    }


def test_a_reader_never_sees_half_a_version(store: Store, tmp_path: Path) -> None:
    publish.publish(store, "m", 1, built(tmp_path / "1"), intent=None)
    done = threading.Event()
    seen: set[int] = set()
    half: list[str] = []

    def names(folder: Path) -> set[str]:
        return {path.name for path in folder.iterdir()}

    def read() -> None:
        while not done.is_set():
            for folder in store.model("m").iterdir():
                if folder.name[0].isdigit():
                    seen.add(int(folder.name))
                    if names(folder) != complete:
                        half.append(folder.name)
            (store.model("m") / "config.pbtxt").read_text()

    complete = names(store.version("m", 1).path)
    reader = threading.Thread(target=read)
    reader.start()
    for version in range(2, 30):
        publish.publish(
            store, "m", version, built(tmp_path / str(version)), intent=Intent(tier=Tier.HOT)
        )
    done.set()
    reader.join()

    assert not half
    assert len(seen) > 1
