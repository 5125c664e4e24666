"""What a library costs before it does anything: its import, its size on the disk."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path

from benchmarks.environments import REQUIREMENTS, Environment, Skipped, environment
from benchmarks.setting import Setting
from benchmarks.table import Result, Table

#: What a user writes first.
IMPORTS = {
    "process_pool": "concurrent.futures.process",
    "loky": "loky",
    "joblib": "joblib",
    "dask": "distributed",
    "lithops": "lithops",
    "sagemaker": "sagemaker.remote_function",
    "smexec": "smexec",
}
_PROGRAM = """
import importlib, json, sys, time
start = time.perf_counter()
importlib.import_module(sys.argv[1])
seconds = time.perf_counter() - start
resident = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmRSS"))
print(json.dumps([seconds, int(resident) / 1024, len(sys.modules)]))
"""
_TIMES = 7


def footprint(setting: Setting) -> Result:
    """Import time, resident memory after it, installed size with all requirements."""
    table = Table(
        "Import and installed size",
        ("library", "version", "import ms", "resident MiB", "modules", "installed MiB"),
        notes=["Import: the median of seven, with warm caches. Installed: with all that it requires."],
    )
    for library in ("process_pool", "loky", "smexec") if setting.quick else REQUIREMENTS:
        try:
            home = environment(library, setting.environments)
        except Skipped as reason:
            table.notes.append(f"{library} was left out: {reason}.")
            continue
        pure = library == "process_pool"
        table.add(
            library,
            "{}.{}.{}".format(*sys.version_info) if pure else home.version(library),
            *_import(home, library),
            "–" if pure else f"{home.size():.0f}",
        )
    return Result([table])


def _import(home: Environment, library: str) -> list[str]:
    runs = [_once(home.python, IMPORTS[library]) for _ in range(_TIMES)]
    seconds, resident, modules = (statistics.median(column) for column in zip(*runs, strict=True))
    return [f"{seconds * 1000:.0f}", f"{resident:.0f}", f"{modules:.0f}"]


def _once(python: Path, module: str) -> list[float]:
    # From the root, so that what is imported is what is installed.
    done = subprocess.run(
        [python, "-c", _PROGRAM, module], check=True, capture_output=True, text=True, cwd="/"
    )
    figures: list[float] = json.loads(done.stdout.splitlines()[-1])  # some talk when they are imported
    return figures
