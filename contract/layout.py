"""Where things lie in a store.

    <store>/<model>/
        pilotlight.json          what the operator wants of the model (`contract.intent`)
        config.pbtxt -> 2/config.pbtxt   links to the newest version, so that a plain Triton
        warmup       -> 2/warmup         can serve the store as it is; likewise the others
        1/                       a version: immutable once it is there
            model.onnx  model.onnx.data      or model.plan; an ensemble has neither
            config.pbtxt         complete; `version_policy` is the only part a sidecar rewrites
            warmup/              data files that `model_warmup` names
            labels/              texts that `label_filename` names
            configs/             variants for `--model-config-name`; not for a stage, where one
                                 would hide the config that says which versions to serve
            golden.npz           inputs with the outputs that PyTorch gave for them
            manifest.json        hashes, signature, measured costs
    <store>/.pilotlight.lock     held by whoever writes

Staging folders begin with a dot and never with a digit: Triton reads a folder `3.tmp`
inside a model as version 3, and any folder at the store's root as a model.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from contract.errors import InvalidVersion

CONFIG = "config.pbtxt"
WARMUP = "warmup"
LABELS = "labels"
CONFIGS = "configs"
GOLDEN = "golden.npz"
MANIFEST = "manifest.json"
INTENT = "pilotlight.json"
ONNX_MODEL = "model.onnx"
ONNX_DATA = "model.onnx.data"
TENSORRT_PLAN = "model.plan"

HEAD = (WARMUP, LABELS, CONFIGS, CONFIG)
"""What Triton looks for beside the versions and not in them, the config after all that it names."""

# Triton parses folder names with std::stoll and aborts on overflow.
MAX_VERSION = 2**63 - 1
_VERSION = re.compile(r"[1-9][0-9]{0,18}")
_MODEL_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


def parse_version(text: str) -> int:
    """The version that a folder name or a request means.

    Raises:
        InvalidVersion: not a positive 64-bit integer without leading zeros.
    """
    if not _VERSION.fullmatch(text) or int(text) > MAX_VERSION:
        raise InvalidVersion(
            f"version {text!r} is not a positive integer without leading zeros "
            f"(1 to {MAX_VERSION}); name it like 1 or 27"
        )
    return int(text)


def is_model_name(name: str) -> bool:
    """Whether `name` is safe as a folder name and as part of a URL path."""
    return _MODEL_NAME.fullmatch(name) is not None


@dataclass(frozen=True, slots=True)
class VersionFolder:
    """Paths of one version."""

    path: Path

    @property
    def config(self) -> Path:
        return self.path / CONFIG

    @property
    def warmup(self) -> Path:
        return self.path / WARMUP

    @property
    def labels(self) -> Path:
        return self.path / LABELS

    @property
    def configs(self) -> Path:
        return self.path / CONFIGS

    @property
    def golden(self) -> Path:
        return self.path / GOLDEN

    @property
    def manifest(self) -> Path:
        return self.path / MANIFEST


@dataclass(frozen=True, slots=True)
class Store:
    """Paths of a model repository that the generator publishes."""

    root: Path

    def model(self, model: str) -> Path:
        return self.root / model

    def intent(self, model: str) -> Path:
        return self.root / model / INTENT

    def version(self, model: str, version: int) -> VersionFolder:
        return VersionFolder(self.root / model / str(version))

    def models(self) -> Iterator[str]:
        """Names of the models that have at least one complete version, sorted."""
        if not self.root.is_dir():
            return
        for folder in sorted(self.root.iterdir()):
            if is_model_name(folder.name) and folder.is_dir() and self.versions(folder.name):
                yield folder.name

    def versions(self, model: str) -> tuple[int, ...]:
        """Complete versions of a model (those with a manifest), ascending."""
        folder = self.model(model)
        if not folder.is_dir():
            return ()
        names = (entry.name for entry in folder.iterdir() if (entry / MANIFEST).is_file())
        return tuple(
            sorted(
                int(name) for name in names if _VERSION.fullmatch(name) and int(name) <= MAX_VERSION
            )
        )
