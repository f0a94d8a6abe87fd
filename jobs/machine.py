"""What this process may use of the machine: processor, cores, memory, disk. Elsewhere than on Linux less is known."""

from __future__ import annotations

import os
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path

import psutil

CPUINFO = Path("/proc/cpuinfo")
CGROUP = Path("/sys/fs/cgroup")
STATUS = Path("/proc/self/status")

_BF16_FLAGS = ("amx_bf16", "avx512_bf16")
_VECTOR_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8")


@dataclass(frozen=True)
class Processor:
    """The CPU as the kernel describes it.

    Attributes:
        model: Its name, or the architecture where there is none.
        vector_flags: Vector instructions that matter here.
        bf16_flags: Instructions for bfloat16, the best first.
    """

    model: str
    vector_flags: tuple[str, ...]
    bf16_flags: tuple[str, ...]


def processor(cpuinfo: Path = CPUINFO) -> Processor:
    """The first processor of the machine."""
    text = cpuinfo.read_text(encoding="utf-8", errors="replace") if cpuinfo.is_file() else ""
    fields = dict(_pairs(text))
    flags = set((fields.get("flags") or fields.get("Features") or "").split())
    return Processor(
        fields.get("model name") or platform.processor() or platform.machine(),
        tuple(flag for flag in _VECTOR_FLAGS if flag in flags),
        tuple(flag for flag in _BF16_FLAGS if flag in flags),
    )


def usable_cores(cgroup: Path = CGROUP) -> float:
    """Cores that this process may use: its affinity, and the container's quota where that is less."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cpu_quota(cgroup)
    return float(affinity) if quota is None else min(float(affinity), quota)


def usable_memory(cgroup: Path = CGROUP) -> int:
    """Bytes of memory that this process may use: the machine's, or the container's limit where that is less."""
    total = int(psutil.virtual_memory().total)
    limits = [_number(cgroup / "memory.max"), _number(cgroup / "memory" / "memory.limit_in_bytes")]
    return min([total, *(limit for limit in limits if limit)])


def peak_memory(status: Path = STATUS) -> int:
    """Most resident memory of this process so far, in bytes; 0 where nobody counts it."""
    # Not ru_maxrss: a process inherits that of the one that started it.
    for line in status.read_text(encoding="ascii").splitlines() if status.is_file() else ():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return _peak_of_rusage()


def free_disk(folder: Path) -> int:
    """Free bytes where `folder` lies, or would lie."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    return shutil.disk_usage(existing).free


def _peak_of_rusage() -> int:
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak) * (1 if platform.system() == "Darwin" else 1024)


def _pairs(text: str) -> list[tuple[str, str]]:
    """The lines ``key : value`` of the first block."""
    lines = text.split("\n\n", 1)[0].splitlines()
    return [(key.strip(), value.strip()) for key, _, value in (line.partition(":") for line in lines)]


def _cpu_quota(cgroup: Path) -> float | None:
    """Cores of a container's quota; the second version of control groups, then the first."""
    if (cgroup / "cpu.max").is_file():
        quota, period = (cgroup / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    quota_us = _number(cgroup / "cpu" / "cpu.cfs_quota_us")
    period_us = _number(cgroup / "cpu" / "cpu.cfs_period_us")
    return quota_us / period_us if quota_us and period_us else None


def _number(path: Path) -> int | None:
    """The positive number in a file; None for no file, ``max`` or -1, which all mean no limit."""
    text = path.read_text().strip() if path.is_file() else ""
    return int(text) if text.isdigit() else None
