"""Memory of this machine, or of the cgroup that limits a process on it (v1 and v2)."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

KIB = 1024
_ROOT = Path("/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """`used_bytes` is without what the kernel can take back at once: files that nobody maps.

    Files that a process has mapped, such as weights, count as used: without them it is slow.
    """

    capacity_bytes: int
    used_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Files:
    """How a version of cgroups names things."""

    limit: str
    usage: str
    mapped: str
    prefix: str = ""


_V1 = _Files(
    limit="memory.limit_in_bytes",
    usage="memory.usage_in_bytes",
    mapped="total_mapped_file",
    prefix="total_",
)
_V2 = _Files(limit="memory.max", usage="memory.current", mapped="file_mapped")


def memory_of(pid: int, root: Path = _ROOT) -> Memory:
    """What the process shares with all others: the machine, or the least cgroup it is in.

    Raises:
        OSError: there is no such process.
    """
    return min([_machine(root), *_limits(pid, root)], key=lambda memory: memory.capacity_bytes)


def _machine(root: Path) -> Memory:
    found = {
        name: int(value.split()[0]) * KIB for name, _, value in _cut(root / "proc/meminfo", ":")
    }
    files = found["Active(file)"] + found["Inactive(file)"]
    idle = max(0, files - found["Mapped"]) + found["SReclaimable"]
    return Memory(
        capacity_bytes=found["MemTotal"],
        used_bytes=found["MemTotal"] - found["MemFree"] - idle,
    )


def _limits(pid: int, root: Path) -> Iterator[Memory]:
    """Each cgroup with a limit that the process is in, from the innermost on.

    Seen with the eyes of the process, which may live in another container than this one, and finds
    its own limit at the top there.
    """
    mount = root / "proc" / str(pid) / "root/sys/fs/cgroup"
    for line in (root / "proc" / str(pid) / "cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            top, names = mount, _V2
        elif "memory" in controllers.split(","):
            top, names = mount / "memory", _V1
        else:
            continue
        # As seen from this container; the cgroups above its own are hidden from it too.
        innermost = top if path.startswith("/..") else top / path.lstrip("/")
        for folder in (innermost, *innermost.parents):
            if folder.is_relative_to(top) and (folder / names.limit).is_file():
                yield from _limit(folder, names)


def _limit(folder: Path, names: _Files) -> Iterator[Memory]:
    limit = (folder / names.limit).read_text().strip()
    if limit == "max":
        return
    found = {name: int(value) for name, _, value in _cut(folder / "memory.stat", " ")}
    files = found[f"{names.prefix}active_file"] + found[f"{names.prefix}inactive_file"]
    idle = max(0, files - found[names.mapped]) + found.get("slab_reclaimable", 0)
    used = int((folder / names.usage).read_text())
    yield Memory(capacity_bytes=int(limit), used_bytes=max(0, used - idle))


def _cut(path: Path, mark: str) -> list[tuple[str, str, str]]:
    return [line.partition(mark) for line in path.read_text().splitlines()]
