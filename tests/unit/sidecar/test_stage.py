"""The folder that Triton reads: what must change, changes; what must not, keeps its time."""

import os
import time
from itertools import pairwise
from pathlib import Path

import pytest

from contract.errors import ArtifactUnreadable
from contract.layout import Store
from sidecar.adapters.shadow import ShadowStage
from sidecar.adapters.stage import MARK, StageFolder
from sidecar.core.wanted import Placement
from sidecar.errors import StageUnusable
from tests.builders import publish
from tests.hindered import hindered


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "store")
    for number in (1, 2):
        publish(store, "m", number)
    publish(store, "m", 3, warmup_x=(9.0, 9.0))
    return store


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "stage" / "serving"


@pytest.fixture
def stage(root: Path, store: Store) -> StageFolder:
    return StageFolder(root, store)


def wanted(*versions: int, config: str = "c") -> Placement:
    return Placement(versions=versions, lead=max(versions), config=config)


def contents(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


async def test_a_stage_that_is_not_there_is_made_and_empty(stage: StageFolder, root: Path) -> None:
    assert await stage.read() == {}
    assert list(root.parent.iterdir()) == [root]


async def test_a_placement_is_links_warm_up_data_and_a_config(
    stage: StageFolder, root: Path, store: Store
) -> None:
    await stage.write("m", wanted(1, 2))

    assert contents(root) == {
        "m",
        "m/1",
        "m/2",
        "m/config.pbtxt",
        "m/warmup",
        "m/warmup/x.bin",
    }
    assert await stage.read() == {"m": "c"}
    assert (root / "m" / "warmup" / "x.bin").read_bytes() == (
        store.version("m", 2).warmup / "x.bin"
    ).read_bytes()


async def test_links_are_relative_and_lead_into_the_store(
    stage: StageFolder, root: Path, store: Store, tmp_path: Path
) -> None:
    """Triton may see both folders under another path, as long as they lie the same."""
    await stage.write("m", wanted(1))

    link = root / "m" / "1"
    assert link.readlink() == Path("../../../store/m/1")
    assert link.resolve() == store.version("m", 1).path.resolve()
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for name in ("stage", "store"):
        (tmp_path / name).rename(moved / name)
    assert (moved / "stage" / "serving" / "m" / "1" / "model.onnx").is_file()


async def test_a_version_that_is_not_placed_any_more_is_unlinked_and_stays_in_the_store(
    stage: StageFolder, root: Path, store: Store
) -> None:
    await stage.write("m", wanted(1, 2))
    await stage.write("m", wanted(2))

    assert not (root / "m" / "1").is_symlink()
    assert store.version("m", 1).manifest.is_file()


async def test_a_link_that_leads_elsewhere_is_put_right(stage: StageFolder, root: Path) -> None:
    await stage.write("m", wanted(1))
    (root / "m" / "1").unlink()
    (root / "m" / "1").symlink_to("../nowhere")

    await stage.write("m", wanted(1))

    assert (root / "m" / "1" / "model.onnx").is_file()


async def test_the_config_is_newer_after_every_write(stage: StageFolder, root: Path) -> None:
    """Otherwise Triton's next load would do nothing."""
    times = []
    for _ in range(100):
        await stage.write("m", wanted(1))
        found = (root / "m" / "config.pbtxt").stat()
        times.append((found.st_mtime_ns, max(found.st_mtime_ns, found.st_ctime_ns)))

    for (_, seen_ns), (mtime_ns, _) in pairwise(times):
        assert mtime_ns > seen_ns
    assert times[-1][0] <= time.time_ns()


async def test_a_config_from_the_future_is_outbid(stage: StageFolder, root: Path) -> None:
    """A clock that was set back must not keep changes from Triton."""
    await stage.write("m", wanted(1))
    config = root / "m" / "config.pbtxt"
    future_ns = time.time_ns() + 10**12
    os.utime(config, ns=(future_ns, future_ns))

    await stage.write("m", wanted(1, 2))

    assert config.stat().st_mtime_ns > future_ns


async def test_what_is_right_is_not_touched(stage: StageFolder, root: Path) -> None:
    """A newer time on warm-up data or on a link would reload the version that serves."""
    await stage.write("m", wanted(1))
    before = {name: times(root / "m" / name) for name in ("1", "warmup", "warmup/x.bin")}

    await stage.write("m", wanted(1, 2))

    assert {name: times(root / "m" / name) for name in before} == before


def times(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_mtime_ns, found.st_ctime_ns


async def test_warm_up_data_follows_the_leading_version(
    stage: StageFolder, root: Path, store: Store
) -> None:
    await stage.write("m", wanted(1))
    (root / "m" / "warmup" / "left over.bin").touch()

    await stage.write("m", wanted(1, 3))

    assert contents(root / "m" / "warmup") == {"x.bin"}
    assert (root / "m" / "warmup" / "x.bin").read_bytes() == (
        store.version("m", 3).warmup / "x.bin"
    ).read_bytes()


async def test_labels_are_copied_like_warm_up_data(
    stage: StageFolder, root: Path, store: Store
) -> None:
    for version, classes in ((1, "no\nyes\n"), (2, "no\nyes\n"), (3, "good\nbad\n")):
        store.version("m", version).labels.mkdir()
        (store.version("m", version).labels / "y.txt").write_text(classes)
    await stage.write("m", wanted(1))
    before = times(root / "m/labels/y.txt")

    await stage.write("m", wanted(1, 2))
    assert times(root / "m/labels/y.txt") == before
    await stage.write("m", wanted(1, 3))
    assert (root / "m/labels/y.txt").read_text() == "good\nbad\n"


async def test_variants_of_a_config_stay_in_the_store(
    stage: StageFolder, root: Path, store: Store
) -> None:
    """Triton would take one instead of the config that says which versions to serve."""
    store.version("m", 1).configs.mkdir()
    (store.version("m", 1).configs / "gpu.pbtxt").write_text('name: "m"')

    await stage.write("m", wanted(1))

    assert "m/configs" not in contents(root)


async def test_a_config_that_was_half_written_by_a_dead_process_is_never_seen(
    stage: StageFolder, root: Path
) -> None:
    await stage.write("m", wanted(1))
    (root / "m" / ".config.pbtxt.new").write_text("half a con")

    assert await stage.read() == {"m": "c"}
    await stage.write("m", wanted(1, config="d"))
    assert await stage.read() == {"m": "d"}
    assert ".config.pbtxt.new" not in contents(root / "m")


async def test_a_folder_without_a_config_is_there_without_a_text(
    stage: StageFolder, root: Path
) -> None:
    """What a removal that was cut off leaves behind."""
    (root / "m").mkdir(parents=True)

    assert await stage.read() == {"m": ""}


async def test_clearing_removes_the_folder_and_nothing_of_the_store(
    stage: StageFolder, root: Path, store: Store
) -> None:
    before = contents(store.root)
    await stage.write("m", wanted(1, 2))

    await stage.clear("m")

    assert await stage.read() == {}
    assert contents(store.root) == before


async def test_clearing_what_is_gone_already_is_done(stage: StageFolder) -> None:
    await stage.read()

    await stage.clear("m")

    assert await stage.read() == {}


async def test_a_config_that_stays_the_same_is_newer_without_being_written(
    stage: StageFolder, root: Path
) -> None:
    """On a full disk there is room for nothing else."""
    await stage.write("m", wanted(1))
    before = (root / "m" / "config.pbtxt").stat()

    await stage.write("m", wanted(1))

    after = (root / "m" / "config.pbtxt").stat()
    assert after.st_ino == before.st_ino
    assert after.st_mtime_ns > before.st_mtime_ns


async def test_a_mark_leads_to_the_store_and_is_no_model(
    stage: StageFolder, root: Path, store: Store
) -> None:
    await stage.write("m", wanted(1))

    mark = await stage.mark()

    assert mark.of_store
    assert (root / mark.name).resolve() == store.root.resolve()
    assert not (root / mark.name).readlink().is_absolute()
    assert (await stage.read()).keys() == {"m"}
    await stage.unmark()
    assert not (root / mark.name).is_symlink()
    await stage.unmark()


async def test_a_mark_that_a_dead_process_left_is_replaced(
    stage: StageFolder, root: Path, store: Store
) -> None:
    await stage.read()
    (root / MARK).symlink_to("nowhere")

    mark = await stage.mark()

    assert (root / mark.name).resolve() == store.root.resolve()


async def test_without_a_store_there_is_a_mark_that_leads_nowhere_else(tmp_path: Path) -> None:
    stage = StageFolder(tmp_path, Store(tmp_path / "nothing"))

    mark = await stage.mark()

    assert not mark.of_store
    assert (tmp_path / mark.name).is_dir()


async def test_a_stage_that_is_a_file_is_told_with_what_to_do(store: Store, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    stage = StageFolder(tmp_path / "file", store)

    for use in (stage.read, stage.mark, lambda: stage.write("m", wanted(1))):
        with pytest.raises(StageUnusable, match=r"stage .*file cannot be \w+: .*; free its disk"):
            await use()


async def test_a_folder_that_no_sidecar_wrote_is_not_deleted(
    stage: StageFolder, root: Path
) -> None:
    """Somebody's own Triton repository, given as `stage` by mistake."""
    model = root / "m" / "1" / "model.onnx"
    model.parent.mkdir(parents=True)
    model.write_text("weeks of training")

    with pytest.raises(StageUnusable, match="was not written by a sidecar"):
        await stage.clear("m")
    with pytest.raises(StageUnusable, match="was not written by a sidecar"):
        await stage.write("m", wanted(1))

    assert model.read_text() == "weeks of training"


async def test_a_config_that_is_written_anew_is_read_anew(stage: StageFolder, root: Path) -> None:
    """By us within one tick of the file system's clock, or by somebody else."""
    for number in range(20):
        await stage.write("m", wanted(1, config=f"c{number}"))
        assert await stage.read() == {"m": f"c{number}"}
    (root / "m" / "config.pbtxt").write_text("theirs")
    assert await stage.read() == {"m": "theirs"}
    await stage.clear("m")
    assert await stage.read() == {}


@pytest.mark.parametrize(("kind", "name"), [(StageFolder, "m"), (ShadowStage, "m--v1")])
async def test_a_config_that_is_no_text_is_written_anew(
    root: Path, store: Store, kind: type[StageFolder | ShadowStage], name: str
) -> None:
    stage = kind(root, store)
    await stage.write("m", wanted(1))
    (root / name / "config.pbtxt").write_bytes(b"\xff\xfe")

    assert await stage.read() == {"m": ""}
    await stage.write("m", wanted(1))
    assert await stage.read() == {"m": "c"}


async def test_a_stage_of_shadows_that_is_a_file_is_told_with_what_to_do(
    store: Store, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(StageUnusable, match=r"stage .*file cannot be read: .*; free its disk"):
        await ShadowStage(tmp_path / "file", store).read()


async def test_what_the_store_does_not_let_be_copied_is_no_fault_of_the_version(
    stage: StageFolder, store: Store
) -> None:
    warmup = store.version("m", 1).warmup / "x.bin"
    with hindered(warmup), pytest.raises(ArtifactUnreadable, match="warmup cannot be read"):
        await stage.write("m", wanted(1))

    await stage.write("m", wanted(1))
