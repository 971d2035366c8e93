"""The generator's output as the sidecar sees it: what is damaged is told, the rest is served."""

import os
from pathlib import Path

import numpy as np
import pytest

from contract.errors import InvalidArtifact
from contract.intent import Tier
from contract.layout import Store
from sidecar.adapters.model_store import StoreFolder
from tests.builders import golden_samples, publish, publish_many


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return publish_many(tmp_path / "store", {"a": [1, 2], "b": [1]}, tier="hot")


@pytest.fixture
def folder(store: Store) -> StoreFolder:
    return StoreFolder(store, {})


async def test_every_complete_version_is_found(folder: StoreFolder, store: Store) -> None:
    models, problems = await folder.scan()

    assert problems == ()
    assert {name: sorted(stored.versions) for name, stored in models.items()} == {
        "a": [1, 2],
        "b": [1],
    }
    assert models["a"].tier is Tier.HOT
    assert models["a"].newest == 2
    assert models["a"].versions[2].config == store.version("a", 2).config.read_text()
    assert models["a"].versions[2].manifest.version == 2


async def test_settings_override_the_tier(store: Store) -> None:
    models, _ = await StoreFolder(store, {"a": Tier.COLD}).scan()

    assert {name: stored.tier for name, stored in models.items()} == {
        "a": Tier.COLD,
        "b": Tier.HOT,
    }


async def test_a_tier_that_changes_is_seen_at_the_next_look(
    folder: StoreFolder, store: Store
) -> None:
    await folder.scan()
    store.intent("a").write_text('{"tier": "cold"}')

    models, _ = await folder.scan()

    assert models["a"].tier is Tier.COLD


async def test_a_version_that_is_published_is_seen_at_the_next_look(
    folder: StoreFolder, store: Store
) -> None:
    await folder.scan()
    publish(store, "b", 2)

    models, _ = await folder.scan()

    assert sorted(models["b"].versions) == [1, 2]


async def test_a_damaged_manifest_is_told_and_the_others_are_served(
    folder: StoreFolder, store: Store
) -> None:
    store.version("a", 2).manifest.write_text("{")

    models, problems = await folder.scan()

    assert sorted(models["a"].versions) == [1]
    assert sorted(models) == ["a", "b"]
    (problem,) = problems
    assert problem.startswith("a version 2: manifest ")
    assert "build the version again" in problem


async def test_a_model_without_a_readable_version_is_left_out(
    folder: StoreFolder, store: Store
) -> None:
    store.version("b", 1).config.write_text("no { config")

    models, problems = await folder.scan()

    assert sorted(models) == ["a"]
    (problem,) = problems
    assert problem.startswith("b version 1: ")
    assert "is no config that Triton would read" in problem


async def test_a_version_that_is_damaged_after_it_was_read_is_told(
    folder: StoreFolder, store: Store
) -> None:
    await folder.scan()
    manifest = store.version("a", 1).manifest
    manifest.write_text("{")
    os.utime(manifest, ns=(1, 1))

    models, (problem,) = await folder.scan()

    assert sorted(models["a"].versions) == [2]
    assert problem.startswith("a version 1: ")


async def test_a_renamed_version_folder_is_told(folder: StoreFolder, store: Store) -> None:
    store.version("a", 2).path.rename(store.version("a", 3).path)

    models, (problem,) = await folder.scan()

    assert sorted(models["a"].versions) == [1]
    assert "is of a version 2; a version folder cannot be renamed" in problem


async def test_a_renamed_model_is_told(folder: StoreFolder, store: Store) -> None:
    store.model("b").rename(store.model("c"))

    models, (problem,) = await folder.scan()

    assert sorted(models) == ["a"]
    assert "is of b version 1" in problem


async def test_an_unreadable_intent_leaves_the_model_cold_and_is_told(
    folder: StoreFolder, store: Store
) -> None:
    store.intent("a").write_text('{"tier": "tepid"}')

    models, (problem,) = await folder.scan()

    assert models["a"].tier is Tier.COLD
    assert "pilotlight.json cannot be read" in problem


@pytest.mark.parametrize(("exists", "word"), [(True, "empty"), (False, "missing")], ids=str)
async def test_a_store_without_models_says_what_to_do(
    tmp_path: Path, *, exists: bool, word: str
) -> None:
    root = tmp_path / "nothing"
    if exists:
        root.mkdir()

    assert await StoreFolder(Store(root), {}).scan() == (
        {},
        (f"model repository {root} is {word}; run `make repo`",),
    )


async def test_evidence_is_read_from_the_version(folder: StoreFolder, store: Store) -> None:
    (first, second) = await folder.golden("a", 1)
    (request,) = await folder.warmup_requests("a", 1)

    assert np.array_equal(first.inputs["x"], golden_samples()[0].inputs["x"])
    assert np.array_equal(second.outputs["y"], golden_samples()[1].outputs["y"])
    assert request["x"].tolist() == [[1, 2], [1, 2]]
    assert await folder.damage("a", 1) == []
    store.version("a", 1).golden.unlink()
    assert await folder.damage("a", 1) == ["golden.npz is missing"]
    with pytest.raises(InvalidArtifact, match=r"golden\.npz cannot be read"):
        await folder.golden("a", 1)
