"""What a version was built from, as one hash; computed without importing PyTorch."""

import hashlib
import json
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from contract.intent import Intent
from contract.manifest import Manifest, sha256_of
from generator.recipe import ModelRecipe, Recipe
from generator.render import templates_hash

# Those whose version changes the bytes that the exporter writes.
_EXPORT_TOOLS = ("onnx", "onnxscript", "torch")
# ONNX Runtime verifies and measures, but writes nothing into the version.
_OTHER_TOOLS = ("onnxruntime", "onnxruntime-gpu", "pilotlight")
_ABSENT = "absent"


def fingerprint(model: ModelRecipe, recipe: Recipe, folder: Path, sources: dict[str, str]) -> str:
    """Hash of everything that decides what a build of `model` gives.

    `sources` are the model's own source files with their hashes. Neither the intent nor the
    version number counts: they do not change what is built.
    """
    weights = folder / model.weights if model.weights else None
    parts = {
        "model": model.model_dump(mode="json", exclude={*Intent.model_fields, "version"}),
        "triton": recipe.triton,
        "target": recipe.target,
        "sources": sources,
        "weights": _hash_if_there(weights) if weights else None,
        "tools": {name: metadata.version(name) for name in _EXPORT_TOOLS},
        "templates": templates_hash(),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def is_current(manifest: Manifest, model: ModelRecipe, recipe: Recipe, folder: Path) -> bool:
    """Whether a build now would give the version that `manifest` describes."""
    sources = hash_sources(folder, manifest.sources)
    return fingerprint(model, recipe, folder, sources) == manifest.fingerprint


def hash_sources(folder: Path, names: Iterable[str]) -> dict[str, str]:
    return {name: _hash_if_there(folder / name) for name in sorted(names)}


def tool_versions() -> dict[str, str]:
    """Installed versions of everything that took part in a build."""
    found = {}
    for name in (*_EXPORT_TOOLS, *_OTHER_TOOLS):
        try:
            found[name] = metadata.version(name)
        # Only one of the two distributions of ONNX Runtime is installed.
        except metadata.PackageNotFoundError:
            continue
    return found


def _hash_if_there(path: Path) -> str:
    return sha256_of(path) if path.is_file() else _ABSENT
