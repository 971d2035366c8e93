"""Which versions go."""

from pathlib import Path

import pytest

from contract.layout import Store
from generator.publishing import publish, retention
from tests.unit.generator.publishing.killing import kill_at_every_step
from tests.unit.generator.publishing.test_publish import built, tree


def store_of(root: Path, *versions: int) -> Store:
    store = Store(root / "store")
    for version in versions:
        publish.publish(store, "m", version, built(root / str(version)), intent=None)
    return store


@pytest.mark.parametrize(
    ("keep", "in_use", "removed", "kept"),
    [
        (3, (), (1, 2), ()),
        (1, (), (1, 2, 3, 10), ()),
        (3, (1,), (2,), (1,)),
        (1, (1, 3, 12), (2, 10), (1, 3)),
        (5, (), (), ()),
        (9, (1,), (), ()),
    ],
)
def test_the_newest_stay_and_those_in_use(
    tmp_path: Path,
    keep: int,
    in_use: tuple[int, ...],
    removed: tuple[int, ...],
    kept: tuple[int, ...],
) -> None:
    versions = (1, 2, 3, 10, 12)
    store = store_of(tmp_path, *versions)

    pruned = retention.prune(store, "m", keep=keep, in_use=in_use)

    assert pruned == retention.Pruned("m", removed, kept)
    assert set(store.versions("m")) == set(versions) - set(removed)


def test_a_removed_version_leaves_the_others_as_they_are(tmp_path: Path) -> None:
    store = store_of(tmp_path, 1, 2)
    before = tree(store.root)

    retention.remove(store, "m", 1)

    assert tree(store.root) == {
        name: content for name, content in before.items() if not f"{name}/".startswith("m/1/")
    }


def test_a_version_is_there_or_not_wherever_the_removal_is_killed(tmp_path: Path) -> None:
    store = store_of(tmp_path, 1, 2)
    whole = tree(store.version("m", 1).path)

    for _ in kill_at_every_step(lambda: retention.remove(store, "m", 1)):
        if store.version("m", 1).path.exists():
            assert tree(store.version("m", 1).path) == whole
        assert store.versions("m")[-1] == 2
        if not store.version("m", 1).path.exists():
            break
