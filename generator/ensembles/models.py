"""The versions that an ensemble is made of, and whether these are new."""

import hashlib
import json
from collections.abc import Mapping

from contract.layout import ONNX_MODEL, Store
from contract.manifest import Manifest, read_manifest
from generator.errors import EnsembleRefused
from generator.fingerprint import templates_hash
from generator.recipe import EnsembleRecipe, Recipe

Models = Mapping[str, Manifest]
"""The newest version of each model of an ensemble, by name."""


def read_models(ensemble: EnsembleRecipe, store: Store) -> Models:
    """The versions that an ensemble built now is made of.

    Raises:
        EnsembleRefused: the store lacks a model, or one is an ensemble or no ONNX model.
    """
    found = {}
    for name in ensemble.models:
        versions = store.versions(name)
        if not versions:
            raise EnsembleRefused(
                f"ensemble {ensemble.name}: {name} has no version in {store.root}; see why it was "
                "not built, or add it to the recipe's models"
            )
        folder = store.version(name, versions[-1])
        if not (folder.path / ONNX_MODEL).is_file():
            raise EnsembleRefused(
                f"ensemble {ensemble.name}: {name} version {versions[-1]} has no {ONNX_MODEL}, "
                "and without it no golden samples can be made; chain ONNX models only"
            )
        found[name] = read_manifest(folder.manifest)
    return found


def fingerprint(ensemble: EnsembleRecipe, recipe: Recipe, models: Models) -> str:
    """Hash of everything that decides what a build gives.

    Another version of a model counts, because its answers are in the golden samples.
    """
    parts = {
        "ensemble": ensemble.model_dump(mode="json", exclude={"version"}, exclude_defaults=True),
        "triton": recipe.triton,
        "target": recipe.target,
        "models": {name: manifest.fingerprint for name, manifest in models.items()},
        "templates": templates_hash(),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
