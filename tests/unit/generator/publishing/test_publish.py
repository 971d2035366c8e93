import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from contract.intent import Intent, Tier, read_intent
from contract.layout import Store
from generator.errors import PublishFailed
from generator.publishing import publish
from generator.publishing.staging import remove_leftovers
from tests.unit.generator.publishing.killing import kill_at_every_step

FILES = ("config.pbtxt", "manifest.json", "model.onnx", "warmup/ids.bin")


def built(folder: Path, content: str = "weights", *more: str) -> Path:
    """A complete version, ready to be published; no file needs to mean anything."""
    for name in (*FILES, *more):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
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


def test_labels_and_variants_are_linked_beside_the_config(store: Store, tmp_path: Path) -> None:
    new = built(tmp_path / "new", "weights", "labels/score.txt", "configs/gpu.pbtxt")

    publish.publish(store, "m", 1, new, intent=None)

    for name in ("labels", "configs", "warmup"):
        assert (store.model("m") / name).readlink() == Path("1", name)


def test_links_to_what_the_newest_version_lacks_are_gone(store: Store, tmp_path: Path) -> None:
    publish.publish(store, "m", 1, built(tmp_path / "1", "x", "labels/score.txt"), intent=None)
    ensemble = built(tmp_path / "2")
    (ensemble / "model.onnx").unlink()
    shutil.rmtree(ensemble / "warmup")

    publish.publish(store, "m", 2, ensemble, intent=None)

    links = {path.name for path in store.model("m").iterdir() if path.is_symlink()}
    assert links == {"config.pbtxt"}


def test_removes_what_killed_builders_left_and_nothing_else(store: Store) -> None:
    for name in (".tmp-3", ".tmp-4-of-an-older-release", "3", "warmup"):
        (store.root / "m" / name / "version").mkdir(parents=True)
    (store.root / "never_finished/.tmp-1").mkdir(parents=True)

    remove_leftovers(store)

    assert [path.name for path in store.root.iterdir()] == ["m"]
    assert {path.name for path in (store.root / "m").iterdir()} == {"3", "warmup"}


def _first(store: Store, versions: list[Path]) -> None:
    publish.publish(store, "m", 1, versions[0], intent=Intent(tier=Tier.HOT))


def _next(store: Store, versions: list[Path]) -> None:
    publish.publish(store, "m", 2, versions[1], intent=Intent(tier=Tier.COLD))


@pytest.mark.parametrize(("before", "killed"), [([], _first), ([_first], _next)])
def test_a_store_is_valid_wherever_the_builder_is_killed_and_the_next_one_ends_its_work(
    tmp_path: Path,
    before: list[Callable[[Store, list[Path]], None]],
    killed: Callable[[Store, list[Path]], None],
) -> None:
    versions = [built(tmp_path / "new/1"), built(tmp_path / "new/2", "more", "labels/score.txt")]
    whole, broken = Store(tmp_path / "whole"), Store(tmp_path / "broken")
    for publish_one in (*before, killed):
        publish_one(whole, versions)

    def begin() -> None:
        shutil.rmtree(broken.root, ignore_errors=True)
        for publish_one in before:
            publish_one(broken, versions)

    begin()
    steps = 0
    for _ in kill_at_every_step(lambda: killed(broken, versions)):
        for version in broken.versions("m"):
            assert tree(broken.version("m", version).path) == tree(versions[version - 1])
        linked = broken.model("m") / "config.pbtxt"
        assert linked.exists() or not linked.is_symlink()
        assert linked.exists() >= bool(before)

        remove_leftovers(broken)
        if broken.versions("m") != whole.versions("m"):
            killed(broken, versions)
        intent = Intent(tier=Tier.COLD if before else Tier.HOT)
        publish.refresh(broken, "m", intent=intent)
        assert tree(broken.root) == tree(whole.root)
        begin()
        steps += 1
    assert steps > len(FILES)


def test_a_reader_never_sees_half_a_version(store: Store, tmp_path: Path) -> None:
    publish.publish(store, "m", 1, built(tmp_path / "1"), intent=None)
    begun = threading.Event()
    newest = 29
    seen: set[int] = set()
    half: list[str] = []

    def names(folder: Path) -> set[str]:
        return {path.name for path in folder.iterdir()}

    def read() -> None:
        while newest not in seen:
            for folder in store.model("m").iterdir():
                if folder.name[0].isdigit():
                    seen.add(int(folder.name))
                    if names(folder) != complete:
                        half.append(folder.name)
            (store.model("m") / "config.pbtxt").read_text()
            begun.set()

    complete = names(store.version("m", 1).path)
    reader = threading.Thread(target=read)
    reader.start()
    assert begun.wait(30)
    for version in range(2, newest + 1):
        publish.publish(
            store, "m", version, built(tmp_path / str(version)), intent=Intent(tier=Tier.HOT)
        )
    reader.join()

    assert not half
    assert {1, newest} <= seen
