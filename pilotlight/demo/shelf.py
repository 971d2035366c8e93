"""The example's versions, published one by one as a team would.

Everything is built once into a store of its own; a version is then published to the demo's
store by a link, so that each run begins with version 1 alone.
"""

import fcntl
import hashlib
import os
import runpy
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from rich.console import Console

import contract
import generator
from contract.layout import INTENT, Store
from contract.manifest import Manifest, read_manifest
from contract.samples import GoldenSample, read_golden
from generator.events import Built, Unchanged
from pilotlight.commands.build import build_shown
from pilotlight.paths import EXAMPLE, WORK

GOOD, SLOW, SUBTLY_WRONG, CORRUPT = 2, 3, 4, 5
BUILT = WORK.absolute() / "example-store"


class BuildFailed(Exception):
    """The example could not be built."""


def build_example(console: Console) -> Store:
    """All versions of the example; done in a moment when nothing changed.

    When the models or the code that builds them changed, everything is built anew. Runs
    beside each other wait for one another.

    Raises:
        BuildFailed: with the reason of each model.
    """
    store = Store(BUILT)
    stamp = BUILT.with_suffix(".stamp")
    BUILT.parent.mkdir(exist_ok=True)
    with BUILT.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_text() != _code_hash() or _problems(console):
            shutil.rmtree(BUILT, ignore_errors=True)
            if problems := _problems(console):
                raise BuildFailed("; ".join(problems))
            stamp.write_text(_code_hash())
        sabotage = runpy.run_path(str(EXAMPLE / "sabotage.py"))
        for version, spoil in ((SUBTLY_WRONG, "subtly_wrong"), (CORRUPT, "corrupt")):
            if version not in store.versions("short_form"):
                sabotage[spoil](BUILT, GOOD, version)
    return store


def _code_hash() -> str:
    """Of the code that builds; a user's store does not depend on it, this one does."""
    digest = hashlib.sha256((EXAMPLE / "sabotage.py").read_bytes())
    for package in (contract, generator):
        for path in sorted(Path(str(package.__file__)).parent.rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _problems(console: Console) -> list[str]:
    """Build what is missing; what stands in the way of exactly the versions of the example."""
    problems = []
    for recipe in ("models.yaml", "candidates.yaml"):
        report = build_shown(EXAMPLE / recipe, BUILT, console=console)
        problems += [f"{one.model}: {one.reason}" for one in report.failed]
        there: list[Built | Unchanged] = [*report.built, *report.unchanged]
        problems += [
            f"{one.model} is at version {one.version}"
            for one in there
            if one.model != "short_form" and one.version != 1
        ]
    return problems


class Shelf:
    """The demo's store: what has been published so far."""

    def __init__(self, built: Store, root: Path, models: Iterable[str]) -> None:
        self._built = built
        self.store = Store(root)
        for model in models:
            self.publish(model, 1)

    def publish(self, model: str, version: int) -> None:
        folder = self.store.model(model)
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(self._built.intent(model), folder / INTENT)
        self.store.version(model, version).path.symlink_to(self._built.version(model, version).path)

    def golden(self, model: str, version: int = 1) -> list[GoldenSample]:
        return read_golden(self.store.version(model, version).golden)

    def request(self, model: str) -> GoldenSample:
        """The largest of one user, with the answer that PyTorch gave."""
        alone = [
            sample
            for sample in self.golden(model)
            if all(len(tensor) == 1 for tensor in sample.inputs.values())
        ]
        return max(alone, key=lambda sample: sum(map(np.size, sample.inputs.values())))

    def manifest(self, model: str, version: int) -> Manifest:
        return read_manifest(self.store.version(model, version).manifest)

    def drop_from_page_cache(self, model: str) -> None:
        """As after a reboot; files that a process has mapped stay."""
        for path in self.store.version(model, 1).path.iterdir():
            if path.is_file():
                with path.open("rb") as file:
                    os.fsync(file.fileno())
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
