"""The generator's output, read-only."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

from contract.config import parse_config
from contract.errors import ContractError, InvalidArtifact
from contract.intent import Intent, read_intent
from contract.layout import Store
from contract.manifest import damaged_files, read_manifest
from contract.samples import GoldenSample, Tensors, read_golden
from contract.warmup import warmup_requests
from sidecar.core.fleet import StoredModel, StoredVersion


class StoreFolder:
    """A `ports.ModelStore`. Versions are immutable, so each is parsed once.

    `overrides` replaces what the store says of a model, field by field.
    """

    def __init__(self, store: Store, overrides: Mapping[str, Mapping[str, object]]) -> None:
        self._store = store
        self._overrides = overrides
        self._parsed: dict[Path, tuple[int, StoredVersion]] = {}

    async def scan(self) -> tuple[Mapping[str, StoredModel], tuple[str, ...]]:
        return await asyncio.to_thread(self._scan)

    async def golden(self, model: str, version: int) -> Sequence[GoldenSample]:
        return await asyncio.to_thread(read_golden, self._store.version(model, version).golden)

    async def warmup_requests(self, model: str, version: int) -> Sequence[Tensors]:
        return await asyncio.to_thread(self._warmup_requests, model, version)

    async def damage(self, model: str, version: int) -> Sequence[str]:
        return await asyncio.to_thread(self._damage, model, version)

    def _warmup_requests(self, model: str, version: int) -> list[Tensors]:
        folder = self._store.version(model, version)
        config = parse_config(folder.config.read_text(), str(folder.config))
        return warmup_requests(config, folder.warmup)

    def _damage(self, model: str, version: int) -> list[str]:
        folder = self._store.version(model, version)
        return damaged_files(read_manifest(folder.manifest), folder.path)

    def _scan(self) -> tuple[dict[str, StoredModel], tuple[str, ...]]:
        models: dict[str, StoredModel] = {}
        problems: list[str] = []
        if not self._store.root.is_dir():
            problems.append(f"model repository {self._store.root} is missing; run `make repo`")
        for name in self._store.models():
            try:
                intent = read_intent(self._store.intent(name))
            except ContractError as error:
                problems.append(str(error))
                intent = Intent()
            intent = intent.model_copy(update=self._overrides.get(name, {}))
            versions = self._versions(name, problems)
            if versions:
                models[name] = StoredModel(name=name, intent=intent, versions=versions)
        if not models and not problems:
            problems.append(f"model repository {self._store.root} is empty; run `make repo`")
        return models, tuple(problems)

    def _versions(self, name: str, problems: list[str]) -> dict[int, StoredVersion]:
        versions = {}
        for number in self._store.versions(name):
            try:
                versions[number] = self._version(name, number)
            except (ContractError, OSError) as error:
                problems.append(f"{name} version {number}: {error}")
        return versions

    def _version(self, name: str, number: int) -> StoredVersion:
        folder = self._store.version(name, number)
        written_ns = folder.manifest.stat().st_mtime_ns
        cached = self._parsed.get(folder.path)
        if cached is not None and cached[0] == written_ns:
            return cached[1]
        manifest = read_manifest(folder.manifest)
        if (manifest.model, manifest.version) != (name, number):
            raise InvalidArtifact(
                f"{folder.manifest} is of {manifest.model} version {manifest.version}; "
                "a version folder cannot be renamed, build it again"
            )
        config = folder.config.read_text()
        parse_config(config, str(folder.config))
        version = StoredVersion(manifest=manifest, config=config)
        self._parsed[folder.path] = (written_ns, version)
        return version
