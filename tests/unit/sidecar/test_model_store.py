"""The store as the sidecar reads it: one bad version does not hide the others."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from contract.errors import InvalidArtifact
from contract.intent import Tier
from contract.layout import Store
from contract.samples import GoldenSample, write_golden
from sidecar.adapters.model_store import StoreFolder
from tests.builders import publish
from tests.chains import publish_chain
from tests.hindered import hindered, out_of_files

NOBODY = 65534


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "store")
    publish(store, "m", 1, tier="hot")
    publish(store, "m", 2, tier="hot")
    publish(store, "n", 1)
    return store


async def test_every_version_is_found_with_its_tier(store: Store) -> None:
    models, problems = await StoreFolder(store, {}).scan()
    found = {name: (model.tier, sorted(model.versions)) for name, model in models.items()}
    assert found == {"m": (Tier.HOT, [1, 2]), "n": (Tier.COLD, [1])}
    assert problems == ()


async def test_settings_override_the_tier(store: Store) -> None:
    models, _ = await StoreFolder(store, {"m": {"tier": Tier.COLD}, "n": {"tier": Tier.HOT}}).scan()
    assert {name: model.tier for name, model in models.items()} == {
        "m": Tier.COLD,
        "n": Tier.HOT,
    }


async def test_a_damaged_manifest_is_named_and_the_other_versions_stay(store: Store) -> None:
    store.version("m", 2).manifest.write_text("{")
    models, problems = await StoreFolder(store, {}).scan()
    assert sorted(models["m"].versions) == [1]
    assert len(problems) == 1
    assert problems[0].startswith("m version 2: manifest ")


async def test_a_config_that_triton_would_not_read_is_named(store: Store) -> None:
    store.version("n", 1).config.write_text("name: 3 3")
    models, problems = await StoreFolder(store, {}).scan()
    assert sorted(models) == ["m"]
    assert "is no config that Triton would read" in problems[0]


async def test_a_renamed_version_folder_is_refused(store: Store) -> None:
    store.version("m", 2).path.rename(store.version("m", 7).path)
    models, problems = await StoreFolder(store, {}).scan()
    assert sorted(models["m"].versions) == [1]
    assert "is of m version 2; a version folder cannot be renamed" in problems[0]


async def test_an_ensemble_is_known_with_the_models_of_its_steps(store: Store) -> None:
    publish_chain(store, "x", {"m": 2, "other": 1})

    models, problems = await StoreFolder(store, {}).scan()

    assert problems == ()
    assert models["x"].versions[1].manifest.composing == {"m": 2, "other": 1}
    assert models["x"].parts == {"m", "other"}


async def test_an_ensemble_of_ensembles_is_named_and_left_out(store: Store) -> None:
    publish_chain(store, "x", {"m": 2})
    publish_chain(store, "y", {"x": 1})

    models, problems = await StoreFolder(store, {}).scan()

    assert "x" in models
    assert "y" not in models
    assert problems == (
        "y: it is an ensemble of x, which is an ensemble too; chain the models of that one in its "
        "place",
    )


async def test_a_damaged_intent_is_named_and_the_model_has_the_default(store: Store) -> None:
    store.intent("m").write_text('{"tier": "lukewarm"}')
    models, problems = await StoreFolder(store, {}).scan()
    assert models["m"].tier is Tier.AUTO
    assert str(store.intent("m")) in problems[0]


@pytest.mark.parametrize("name", [".tmp-3-99", "3.tmp", "007", "-5", "x"])
async def test_folders_that_are_no_versions_are_left_out(store: Store, name: str) -> None:
    store.version("m", 2).path.rename(store.model("m") / name)
    models, problems = await StoreFolder(store, {}).scan()
    assert (sorted(models["m"].versions), problems) == ([1], ())


async def test_a_version_without_a_manifest_is_not_there_yet(store: Store) -> None:
    store.version("m", 2).manifest.unlink()
    models, _ = await StoreFolder(store, {}).scan()
    assert sorted(models["m"].versions) == [1]


async def test_a_missing_and_an_empty_store_say_so(tmp_path: Path) -> None:
    root = tmp_path / "nowhere"
    assert (await StoreFolder(Store(root), {}).scan()) == (
        {},
        (f"model repository {root} is missing; run `make repo`",),
    )
    root.mkdir()
    _, problems = await StoreFolder(Store(root), {}).scan()
    assert problems == (f"model repository {root} is empty; run `make repo`",)


@contextmanager
def as_nobody() -> Iterator[None]:
    """Root may read everything, and the user of a container may not."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(user)


async def test_a_store_that_this_user_may_not_read_says_so_and_is_read_when_it_may(
    store: Store,
) -> None:
    folder = StoreFolder(store, {})
    store.root.chmod(0o000)
    with as_nobody():
        models, problems = await folder.scan()
    store.root.chmod(0o755)
    assert models == {}
    assert problems == (
        f"model repository {store.root} cannot be read: Permission denied; mount it there, and "
        "let this user read it",
    )

    models, problems = await folder.scan()
    assert sorted(models) == ["m", "n"]
    assert problems == ()


async def test_damage_compares_every_file_with_the_manifest(store: Store) -> None:
    reader = StoreFolder(store, {})
    assert await reader.damage("m", 1) == []
    path = store.version("m", 1).golden
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    (damage,) = await reader.damage("m", 1)
    assert damage == "golden.npz has another SHA-256 than the manifest says"


async def test_warm_up_samples_become_requests_with_a_batch_dimension(store: Store) -> None:
    requests = await StoreFolder(store, {}).warmup_requests("m", 1)
    assert requests
    assert all(list(request) == ["x"] and request["x"].ndim == 2 for request in requests)


async def test_missing_golden_samples_are_an_error_with_a_remedy(store: Store) -> None:
    store.version("m", 1).golden.unlink()
    with pytest.raises(InvalidArtifact, match="build the version again"):
        await StoreFolder(store, {}).golden("m", 1)


async def test_what_changes_is_seen_at_the_next_look(store: Store) -> None:
    reader = StoreFolder(store, {})
    await reader.scan()
    publish(store, "n", 2)
    store.intent("m").write_text('{"tier": "cold"}')
    manifest = store.version("m", 1).manifest
    manifest.write_text("{")
    os.utime(manifest, ns=(1, 1))

    models, (problem,) = await reader.scan()

    assert sorted(models["n"].versions) == [1, 2]
    assert models["m"].tier is Tier.COLD
    assert sorted(models["m"].versions) == [2]
    assert problem.startswith("m version 1: ")


async def test_what_did_not_change_is_the_same_object_at_the_next_look(store: Store) -> None:
    reader = StoreFolder(store, {})
    before, _ = await reader.scan()
    publish(store, "n", 2)
    after, _ = await reader.scan()
    assert after["m"] is before["m"]
    assert after["n"].versions[1] is before["n"].versions[1]
    assert sorted(after["n"].versions) == [1, 2]


async def test_a_model_that_left_is_gone_and_one_that_was_damaged_comes_back(store: Store) -> None:
    reader = StoreFolder(store, {})
    manifest = store.version("n", 1).manifest
    whole, written_ns = manifest.read_bytes(), manifest.stat().st_mtime_ns
    manifest.write_text("{")
    os.utime(manifest, ns=(written_ns, written_ns))
    models, _ = await reader.scan()
    assert sorted(models) == ["m"]

    manifest.write_bytes(whole)
    os.utime(manifest, ns=(written_ns, written_ns))
    shutil.rmtree(store.model("m"))
    models, problems = await reader.scan()

    assert (sorted(models), problems) == (["n"], ())


async def test_a_store_that_is_quick_to_scan_is_always_known_as_it_is(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As quick as a busy machine can be.
    monkeypatch.setattr("sidecar.adapters.model_store.QUICK_SCAN_S", 60.0)
    reader = StoreFolder(store, {})
    await reader.known()
    publish(store, "n", 2)
    models, _ = await reader.known()
    assert sorted(models["n"].versions) == [1, 2]


async def test_a_store_that_is_slow_to_scan_is_known_as_it_was_until_somebody_scans(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sidecar.adapters.model_store.QUICK_SCAN_S", 0.0)
    monkeypatch.setattr("sidecar.adapters.model_store.SCANNING_SHARE", 1e-9)
    reader = StoreFolder(store, {})
    await reader.known()
    publish(store, "n", 2)
    models, _ = await reader.known()
    assert sorted(models["n"].versions) == [1, 2], "the first scan says nothing of the others"
    publish(store, "n", 3)
    models, _ = await reader.known()
    assert sorted(models["n"].versions) == [1, 2]
    await reader.scan()
    models, _ = await reader.known()
    assert sorted(models["n"].versions) == [1, 2, 3]


async def test_golden_samples_of_a_sequence_are_without_what_only_triton_writes(
    store: Store,
) -> None:
    files = store.version("m", 1)
    files.config.write_text(
        'sequence_batching { control_input { name: "start" '
        "control { kind: CONTROL_SEQUENCE_START } } }"
    )
    one = np.ones((1, 1), np.float32)
    write_golden(files.golden, [GoldenSample({"x": one, "start": one}, {"y": one})])

    (sample,) = await StoreFolder(store, {}).golden("m", 1)

    assert list(sample.inputs) == ["x"]


async def test_a_config_with_a_broken_byte_hides_no_other_model(store: Store) -> None:
    config = store.version("n", 1).config
    config.write_bytes(config.read_bytes().replace(b"onnxruntime", b"onnx\xe9untime"))

    models, problems = await StoreFolder(store, {}).scan()

    assert sorted(models) == ["m"]
    assert len(problems) == 1
    assert problems[0].startswith(f"n version 1: config {config} is not UTF-8")


async def test_a_store_that_cannot_be_read_for_a_while_counts_as_it_was(store: Store) -> None:
    reader = StoreFolder(store, {})
    before, _ = await reader.scan()
    with out_of_files():
        models, (problem,) = await reader.scan()

    assert models == before
    assert problem.startswith(f"model repository {store.root} cannot be read: Too many open files")
    assert await reader.scan() == (before, ())


async def test_a_model_whose_folder_cannot_be_read_for_a_while_counts_as_it_was(
    store: Store,
) -> None:
    reader = StoreFolder(store, {})
    before, _ = await reader.scan()
    with hindered(store.model("n")):
        models, (problem,) = await reader.scan()

    assert models == before
    assert problem.startswith(f"n: its folder {store.model('n')} cannot be read: File name too")
    assert await reader.scan() == (before, ())
