"""Where this machine keeps what a later build need not do again."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """The user's own; whatever lies in it can be deleted at any time."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "pilotlight"
