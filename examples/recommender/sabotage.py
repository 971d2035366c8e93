"""Two bad versions, made by a pipeline step that bypassed the generator.

Both are complete and agree with their own manifest, so hashes alone find nothing: one
answers a little wrong, the other cannot be loaded.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx

from contract.layout import ONNX_DATA, ONNX_MODEL, Store
from contract.manifest import read_manifest, record_files

MODEL = "short_form"
TABLE = "tables.0.weight"


def subtly_wrong(store: Path, source_version: int, new_version: int) -> None:
    """Scale one embedding table by 1 %: far above rounding noise, invisible in a list of scores."""
    _publish_changed(store, source_version, new_version, _scale_table)


def corrupt(store: Path, source_version: int, new_version: int) -> None:
    """Lose the last third of `model.onnx`, as an interrupted copy does."""
    _publish_changed(store, source_version, new_version, _truncate)


def _publish_changed(
    store: Path, source_version: int, new_version: int, change: Callable[[Path], None]
) -> None:
    layout = Store(store)
    staging = layout.model(MODEL) / f".tmp-{new_version}"
    # Copied, never linked: a hard link would change the source version too.
    shutil.copytree(layout.version(MODEL, source_version).path, staging)
    change(staging)
    manifest = read_manifest(staging / "manifest.json")
    careless = manifest.model_copy(update={"version": new_version, "files": record_files(staging)})
    (staging / "manifest.json").write_text(careless.model_dump_json(indent=2) + "\n")
    staging.rename(layout.version(MODEL, new_version).path)


def _scale_table(folder: Path) -> None:
    graph = onnx.load(folder / ONNX_MODEL, load_external_data=False).graph
    table = next(tensor for tensor in graph.initializer if tensor.name == TABLE)
    place = {entry.key: entry.value for entry in table.external_data}
    weights = np.memmap(
        folder / ONNX_DATA,
        dtype=np.float32,
        mode="r+",
        offset=int(place["offset"]),
        shape=tuple(table.dims),
    )
    weights *= np.float32(1.01)
    weights.flush()


def _truncate(folder: Path) -> None:
    path = folder / ONNX_MODEL
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
