"""Whether a disk has room, found out by writing: quotas and limits are not told otherwise."""

from pathlib import Path

ROOM_BYTES = 64 * 1024
"""Some configs, or some dozens of records."""


def try_room(folder: Path) -> None:
    """Raises OSError when so much cannot be written to a folder."""
    path = folder / ".pilotlight-room"
    try:
        path.write_bytes(bytes(ROOM_BYTES))
    finally:
        path.unlink(missing_ok=True)
