"""Whose memory counts: that of the machine, or of the tightest cgroup."""

import os
from pathlib import Path

import psutil
import pytest

from sidecar.adapters.machine import Memory, memory_of

MIB = 2**20
# 16 GiB, of which 4 are free, 3 are files (1 of them mapped) and 1 is kernel caches.
MEMINFO = """\
MemTotal:       16777216 kB
MemFree:         4194304 kB
Active(file):    2097152 kB
Inactive(file):  1048576 kB
Mapped:          1048576 kB
SReclaimable:    1048576 kB
HugePages_Total:       0
"""
MACHINE = Memory(capacity_bytes=16 * 2**30, used_bytes=9 * 2**30)
V2_STAT = f"anon {300 * MIB}\nactive_file {100 * MIB}\ninactive_file {50 * MIB}\n" + (
    f"file_mapped {30 * MIB}\nslab_reclaimable {10 * MIB}\n"
)
V1_STAT = f"active_file 1\ntotal_active_file {100 * MIB}\ntotal_inactive_file {50 * MIB}\n" + (
    f"total_mapped_file {30 * MIB}\n"
)


def write(root: Path, files: dict[str, str]) -> None:
    """`/proc/7/root`, where process 7 finds its mounts, is the same root unless written to."""
    for name, text in {"proc/meminfo": MEMINFO, **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    own = root / "proc/7/root"
    if not own.exists():
        own.symlink_to(root)


def v2(folder: str, limit: str, usage_mib: int = 500) -> dict[str, str]:
    return {
        f"sys/fs/cgroup{folder}/memory.max": f"{limit}\n",
        f"sys/fs/cgroup{folder}/memory.current": f"{usage_mib * MIB}\n",
        f"sys/fs/cgroup{folder}/memory.stat": V2_STAT,
    }


def test_without_a_limit_it_is_the_machine_less_files_that_nobody_maps(tmp_path: Path) -> None:
    write(tmp_path, {"proc/7/cgroup": "0::/app\n", **v2("/app", "max")})

    assert memory_of(7, tmp_path) == MACHINE


@pytest.mark.parametrize("innermost", ["/pod/app", "/pod"])
def test_the_tightest_of_nested_limits_counts(tmp_path: Path, innermost: str) -> None:
    limits = {"/pod": 2**30, "/pod/app": 2**31, innermost: 2**29}
    groups = {
        name: text for folder in limits for name, text in v2(folder, str(limits[folder])).items()
    }
    write(tmp_path, {"proc/7/cgroup": "0::/pod/app\n", **groups})

    expected = Memory(capacity_bytes=2**29, used_bytes=(500 - 120 - 10) * MIB)
    assert memory_of(7, tmp_path) == expected


def test_inside_a_container_its_own_limit_lies_at_the_top(tmp_path: Path) -> None:
    write(tmp_path, {"proc/7/cgroup": "0::/\n", **v2("", str(2**30))})

    assert memory_of(7, tmp_path).capacity_bytes == 2**30


def test_a_process_in_another_container_has_the_limit_of_that_one(tmp_path: Path) -> None:
    theirs = {f"proc/7/root/{name}": text for name, text in v2("", str(2**31)).items()}
    write(tmp_path, {"proc/7/cgroup": "0::/../other\n", **v2("", str(2**30)), **theirs})

    assert memory_of(7, tmp_path).capacity_bytes == 2**31


def test_so_it_has_with_cgroups_of_version_1(tmp_path: Path) -> None:
    def limited(folder: str, limit: int) -> dict[str, str]:
        return {
            f"{folder}/memory.limit_in_bytes": f"{limit}\n",
            f"{folder}/memory.usage_in_bytes": f"{500 * MIB}\n",
            f"{folder}/memory.stat": V1_STAT,
        }

    write(
        tmp_path,
        {
            "proc/7/cgroup": "4:memory:/docker/other\n",
            **limited("sys/fs/cgroup/memory", 2**30),
            **limited("proc/7/root/sys/fs/cgroup/memory", 2**31),
        },
    )

    assert memory_of(7, tmp_path).capacity_bytes == 2**31


def test_a_limit_above_the_machine_is_none(tmp_path: Path) -> None:
    write(tmp_path, {"proc/7/cgroup": "0::/app\n", **v2("/app", str(2**60))})

    assert memory_of(7, tmp_path) == MACHINE


def test_cgroups_of_version_1_limit_too(tmp_path: Path) -> None:
    folder = "sys/fs/cgroup/memory/app"
    write(
        tmp_path,
        {
            "proc/7/cgroup": "9:cpu,cpuacct:/x\n4:memory:/app\n0::/\n",
            f"{folder}/memory.limit_in_bytes": f"{2**30}\n",
            f"{folder}/memory.usage_in_bytes": f"{500 * MIB}\n",
            f"{folder}/memory.stat": V1_STAT,
        },
    )

    assert memory_of(7, tmp_path) == Memory(capacity_bytes=2**30, used_bytes=380 * MIB)


def test_this_process_has_a_part_of_this_machine() -> None:
    memory = memory_of(os.getpid())

    assert 0 < memory.used_bytes < memory.capacity_bytes <= psutil.virtual_memory().total
