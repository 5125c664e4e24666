"""What the figures were measured on."""

from __future__ import annotations

import datetime as dt
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def description() -> str:
    """Processor, cores, memory, system, Python, versions and date, in a line."""
    return ", ".join(
        [
            f"{_processor()}, {os.cpu_count()} cores",
            f"{_memory():.0f} GiB",
            f"{platform.system()} {platform.release()} {platform.machine()}",
            f"Python {platform.python_version()}",
            *(f"{name} {found}" for name in ("smexec", "aioboto3", "moto") if (found := version_of(name))),
            f"{dt.datetime.now(dt.timezone.utc):%Y-%m-%d}",
        ]
    )


def load() -> str:
    """The load average of the last minute: what else the machine was doing before it measured."""
    return f"{os.getloadavg()[0]:.1f}"


def version_of(distribution: str) -> str | None:
    """Of what is installed beside us."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.processor() or "unknown processor"


def _memory() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
