"""A secret in a file that may be replaced while it is in use."""

from pathlib import Path

from sidecar.errors import InvalidSettings
from sidecar.settings import read_secret


class SecretFile:
    """What was read last counts until the file can be read again; `problem` is why it cannot."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problem: str | None = None
        self._last: str | None = None

    def read(self) -> str:
        """Raises InvalidSettings when it could never be read."""
        try:
            self._last = read_secret(self.path)
        except InvalidSettings as error:
            self.problem = str(error)
            if self._last is None:
                raise
        else:
            self.problem = None
        return self._last
