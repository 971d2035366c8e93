"""What a version was built from, as one hash; computed without importing PyTorch."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import metadata
from pathlib import Path

from contract.intent import Intent
from contract.manifest import Manifest
from generator.hashes import Hashes
from generator.recipe import ModelRecipe, Recipe

# Those whose version changes the bytes that the exporter writes.
_EXPORT_TOOLS = ("onnx", "onnxscript", "torch")
_ONLY_FOR = {"huggingface": "transformers", "tensorrt": "tensorrt"}
# ONNX Runtime verifies and measures, but writes nothing into the version.
_OTHER_TOOLS = ("onnxruntime", "onnxruntime-gpu", "pilotlight")
# The folders of this package that decide about the bytes of a version.
_WRITERS = ("config", "exporters", "samples")
_TEMPLATES = Path(__file__).parent / "templates"
_NOT_BUILT_IN = {*Intent.model_fields, "version", "keep"}


def fingerprint(model: ModelRecipe, recipe: Recipe, files: Mapping[str, str]) -> str:
    """Hash of everything that decides what a build of `model` gives.

    `files` are those that the model is made from, with their hashes. What the recipe leaves at
    its default does not count, so that a new key is no reason to build, and neither do intent,
    version number and `keep`: they do not change what is built. This package's own code counts
    as far as it writes.
    """
    parts = {
        "model": model.model_dump(mode="json", exclude=_NOT_BUILT_IN, exclude_defaults=True),
        "triton": recipe.triton,
        "target": recipe.target,
        "files": dict(files),
        "tools": _export_tools(model),
        "code": _code_hash(),
        "templates": templates_hash(),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def is_current(
    manifest: Manifest, model: ModelRecipe, recipe: Recipe, folder: Path, hashes: Hashes
) -> bool:
    """Whether a build now would give the version that `manifest` describes."""
    sources = {name: hashes.of(folder / name) for name in manifest.sources}
    return fingerprint(model, recipe, sources | hash_named(model, folder, hashes)) == (
        manifest.fingerprint
    )


def hash_named(model: ModelRecipe, folder: Path, hashes: Hashes) -> dict[str, str]:
    """Hashes of the files that the recipe names, by the names that it gives them."""
    return {name: hashes.of(folder / name) for name in named_files(model, folder)}


def named_files(model: ModelRecipe, folder: Path) -> Iterator[str]:
    """Relative to the recipe's folder, or absolute; of a folder, all that lies below."""
    labels = (output.labels for output in model.outputs)
    for name in (model.weights, model.program, model.onnx, model.golden, model.samples, *labels):
        if name:
            yield name
    for name in (model.huggingface, *model.depends):
        if name:
            yield from _files_of(name, folder)


def _files_of(name: str, folder: Path) -> Iterator[str]:
    """All below a folder; what is a file, or not there, itself."""
    inside = folder / name
    if not inside.is_dir():
        yield name
    for path in sorted(inside.rglob("*")):
        if path.is_file():
            yield (Path(name) / path.relative_to(inside)).as_posix()


def tool_versions() -> dict[str, str]:
    """Installed versions of everything that may take part in a build."""
    names = (*_EXPORT_TOOLS, *_ONLY_FOR.values(), *_OTHER_TOOLS)
    return {name: found for name in names if (found := _version(name))}


@cache
def templates_hash() -> str:
    """Of what Triton's configs are printed with."""
    digest = hashlib.sha256()
    for path in sorted(_TEMPLATES.glob("*.j2")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _export_tools(model: ModelRecipe) -> dict[str, str | None]:
    kinds = {model.format.kind, "huggingface" if model.huggingface else ""}
    special = [tool for kind, tool in _ONLY_FOR.items() if kind in kinds]
    return {name: _version(name) for name in (*_EXPORT_TOOLS, *special)}


@cache
def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


@cache
def _code_hash() -> str:
    digest = hashlib.sha256()
    here = Path(__file__).parent
    for folder in _WRITERS:
        for path in sorted((here / folder).rglob("*.py")):
            digest.update(path.relative_to(here).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
