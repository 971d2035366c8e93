"""The generator's output, read-only."""

import asyncio
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from contract.config import ModelConfig, instance_groups, parse_config, read_config
from contract.errors import ContractError, InvalidArtifact, InvalidVersion
from contract.files import reason_of
from contract.intent import Intent, read_intent
from contract.layout import (
    INTENT,
    MANIFEST,
    Store,
    VersionFolder,
    is_model_name,
    parse_version,
)
from contract.manifest import Manifest, damaged_files, read_manifest
from contract.requests import golden_requests
from contract.samples import GoldenSample, Tensors, read_golden
from contract.warmup import warmup_requests
from sidecar.core.fleet import StoredModel, StoredVersion

QUICK_SCAN_S = 0.02
SCANNING_SHARE = 0.01
"""Of the time, that scans may take unless they are quick: a store of 10,000 models is scanned about
every ten seconds, one of some hundred at every look."""

Scan = tuple[Mapping[str, StoredModel], tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class _Written:
    """When a model's intent and the manifest of each complete version were written."""

    intent_ns: int
    versions: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class _Seen:
    """A model as it was read."""

    written: _Written
    stored: StoredModel
    is_whole: bool


class StoreFolder:
    """A `ports.ModelStore`. What was not written anew is not read again.

    What cannot be read for a while counts as it was: that says nothing of what is there.
    `overrides` replaces what the store says of a model, field by field.
    """

    def __init__(self, store: Store, overrides: Mapping[str, Mapping[str, object]]) -> None:
        self._store = store
        self._overrides = overrides
        self._seen: dict[str, _Seen] = {}
        self._intents: dict[str, Intent] = {}
        self._found: Scan = ({}, ())
        self._rest_until_s = 0.0
        self._took_s = 0.0
        self._scanning = asyncio.Lock()

    async def scan(self) -> Scan:
        async with self._scanning:
            return await asyncio.to_thread(self._scan)

    async def known(self) -> Scan:
        if time.monotonic() < self._rest_until_s:
            return self._found
        return await self.scan()

    async def manifest(self, model: str, version: int) -> Manifest:
        return await asyncio.to_thread(read_manifest, self._store.version(model, version).manifest)

    async def golden(self, model: str, version: int) -> Sequence[GoldenSample]:
        return await asyncio.to_thread(self._golden, model, version)

    async def warmup_requests(self, model: str, version: int) -> Sequence[Tensors]:
        return await asyncio.to_thread(self._warmup_requests, model, version)

    async def damage(self, model: str, version: int) -> Sequence[str]:
        return await asyncio.to_thread(self._damage, model, version)

    def _golden(self, model: str, version: int) -> Sequence[GoldenSample]:
        folder = self._store.version(model, version)
        return golden_requests(_config(folder), read_golden(folder.golden))

    def _warmup_requests(self, model: str, version: int) -> list[Tensors]:
        folder = self._store.version(model, version)
        return warmup_requests(_config(folder), folder.warmup)

    def _damage(self, model: str, version: int) -> list[str]:
        folder = self._store.version(model, version)
        return damaged_files(read_manifest(folder.manifest), folder.path)

    def _scan(self) -> Scan:
        began_s = time.monotonic()
        models: dict[str, StoredModel] = {}
        problems: list[str] = []
        try:
            folders = _folders(self._store, problems)
        except OSError as error:
            problem = (
                f"model repository {self._store.root} cannot be read: {reason_of(error)}; mount it "
                "there, and let this user read it"
            )
            self._found = self._found[0], (problem,)
            return self._found
        for name in self._seen.keys() - folders.keys():
            del self._seen[name]
        for name, folder in folders.items():
            stored = self._model(name, folder, problems)
            if stored is not None:
                models[name] = stored
        problems += _drop_nested(models)
        if not models and not problems:
            problems.append(f"model repository {self._store.root} is empty; run `make repo`")
        self._found = models, tuple(problems)
        took_s = time.monotonic() - began_s
        # One that a busy machine held up, or that met cold caches, says nothing of the store.
        usual_s, self._took_s = min(took_s, self._took_s), took_s
        if usual_s > QUICK_SCAN_S:
            self._rest_until_s = began_s + usual_s / SCANNING_SHARE
        return self._found

    def _model(self, name: str, folder: str, problems: list[str]) -> StoredModel | None:
        seen = self._seen.get(name)
        try:
            written = _written(folder)
        except OSError as error:
            problems.append(
                f"{name}: its folder {folder} cannot be read: {reason_of(error)}; let this user "
                "read it"
            )
            return seen.stored if seen is not None else None
        if seen is not None and seen.is_whole and seen.written == written:
            return seen.stored
        troubles: list[str] = []
        intent = self._intent(name, troubles) if written.versions else Intent()
        versions = self._versions(name, written, seen, troubles)
        problems += troubles
        if not versions:
            self._seen.pop(name, None)
            return None
        stored = StoredModel(name=name, intent=intent, versions=versions)
        self._seen[name] = _Seen(written, stored, is_whole=not troubles)
        return stored

    def _intent(self, name: str, problems: list[str]) -> Intent:
        try:
            intent = read_intent(self._store.intent(name))
        except ContractError as error:
            problems.append(str(error))
            intent = Intent()
        intent = intent.model_copy(update=self._overrides.get(name, {}))
        # Most are alike, and thousands of copies are megabytes.
        return self._intents.setdefault(intent.model_dump_json(), intent)

    def _versions(
        self, name: str, written: _Written, seen: _Seen | None, problems: list[str]
    ) -> dict[int, StoredVersion]:
        versions = {}
        for number, written_ns in sorted(written.versions.items()):
            if (
                seen is not None
                and number in seen.stored.versions
                and seen.written.versions.get(number) == written_ns
            ):
                versions[number] = seen.stored.versions[number]
                continue
            try:
                versions[number] = self._version(name, number)
            except ContractError as error:
                problems.append(f"{name} version {number}: {error}")
        return versions

    def _version(self, name: str, number: int) -> StoredVersion:
        folder = self._store.version(name, number)
        manifest = read_manifest(folder.manifest)
        if (manifest.model, manifest.version) != (name, number):
            raise InvalidArtifact(
                f"{folder.manifest} is of {manifest.model} version {manifest.version}; "
                "a version folder cannot be renamed, build it again"
            )
        config = read_config(folder.config)
        # Kept for the planner, which would stall the loop with thousands of them.
        instance_groups(config)
        return StoredVersion(manifest=manifest.excerpt, config=config)


def _config(folder: VersionFolder) -> ModelConfig:
    return parse_config(read_config(folder.config), str(folder.config))


def _drop_nested(models: dict[str, StoredModel]) -> list[str]:
    """Leave out ensembles of ensembles, which the generator makes none of."""
    ensembles = {name: stored.parts for name, stored in models.items() if stored.parts}
    found = []
    for name, parts in ensembles.items():
        inner = sorted(parts & ensembles.keys())
        if inner:
            del models[name]
            found.append(
                f"{name}: it is an ensemble of {', '.join(inner)}, which is an ensemble too; chain "
                "the models of that one in its place"
            )
    return found


def _folders(store: Store, problems: list[str]) -> dict[str, str]:
    """Path of each folder that may be a model, by name. Raises OSError unless it is missing."""
    try:
        with os.scandir(store.root) as entries:
            found = {entry.name: entry.path for entry in entries if is_model_name(entry.name)}
    except FileNotFoundError:
        problems.append(f"model repository {store.root} is missing; run `make repo`")
        return {}
    return {name: found[name] for name in sorted(found)}


def _written(folder: str) -> _Written:
    """Raises OSError when that cannot be told."""
    intent_ns = 0
    versions: dict[int, int] = {}
    # What is no folder holds no version; what vanishes meanwhile is missing the next time.
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name == INTENT:
                intent_ns = entry.stat().st_mtime_ns
            elif entry.name.isdecimal():
                with suppress(FileNotFoundError, NotADirectoryError, InvalidVersion):
                    version = parse_version(entry.name)
                    versions[version] = os.stat(f"{entry.path}/{MANIFEST}").st_mtime_ns  # noqa: PTH116  (of thousands of models)
    return _Written(intent_ns, versions)
