"""Resources as files that Envoy watches."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from contract.files import flush
from sidecar.adapters.envoy.names import Resource, typed


class Folder:
    """Files that are replaced by rename, so that Envoy never reads half of one.

    Nor after a power failure: their contents are on the disk before their names are.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._must_be_new: set[str] = set()

    def forget(self) -> None:
        """Write each file anew the next time, so that Envoy reads it again."""
        self._must_be_new = {path.stem for path in self.path.glob("*.json")}

    def put(self, name: str, kind: str, resources: Sequence[Resource]) -> str:
        """Write resources of one kind unless they are there already; returns their version.

        The version is a hash: the same resources have the same one, whoever wrote them. Raises
        OSError.
        """
        found = [typed(kind, **resource) for resource in resources]
        version = hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()[:16]
        self.write(name, json.dumps({"version_info": version, "resources": found}))
        return version

    def write(self, name: str, text: str) -> None:
        """Replace a file unless it says the same already. Raises OSError."""
        path = self.path / f"{name}.json"
        if name not in self._must_be_new and path.exists() and path.read_bytes() == text.encode():
            return
        self.path.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(".new")
        # It may hold API keys.
        fresh.touch(mode=0o600)
        fresh.write_text(text)
        flush(fresh)
        fresh.replace(path)
        self._must_be_new.discard(name)

    def contents(self) -> Mapping[str, str]:
        """Text of each file that is there, whoever wrote it. Raises OSError."""
        return {path.stem: path.read_text(errors="replace") for path in self.path.glob("*.json")}
