"""A large array in and out, beside plain boto3 with the same bytes at the same endpoint."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.client import environment_of, run, service_with
from benchmarks.setting import Setting
from benchmarks.table import Result, Table

_HERE = Path(sys.executable)
_IN_HANDS = "goes, in the call's hands"

_READING = (
    "goes: from submit() to the job's creation, beside upload_file. in the call's hands: to the call's first "
    "line, beside upload_file and download_file, as the container downloads too. comes: from the call's end "
    "to result(), beside upload_file (the container's) and download_file. Medians of three rounds. Memory: "
    "the client's highest peak, less what it had before the payload."
)


def transfer(setting: Setting) -> Result:
    """1 GiB each way."""
    size = (1 << 27) if setting.quick else (1 << 30)
    table = Table(
        f"An array of {size / 2**30:.3g} GiB",
        ("way", "smexec s", "plain boto3 s", "share of plain", "peak memory ÷ payload"),
        notes=[_READING],
    )
    rounds = [_round(size) for _ in range(1 if setting.quick else 3)]
    up, both = (median(one[name] for one in rounds) for name in ("up", "both"))
    for way, against in (("goes", up), (_IN_HANDS, both), ("comes", both)):
        seconds = median(one[way] for one in rounds)
        peak = max(one.get(way + " peak", 0.0) for one in rounds)
        share = f"{against / seconds:.0%}"
        table.add(way, f"{seconds:.2f}", f"{against:.2f}", share, f"{peak / size:.2f}" if peak else "")
    return Result([table])


def _round(size: int) -> dict[str, float]:
    """Seconds of each way, and the bytes that the client had at most."""
    plain, goes, comes = (_run(way, size) for way in ("plain", "goes", "comes"))
    return {
        "up": plain["up"],
        "both": plain["up"] + plain["down"],
        "goes": goes["created"] - goes["asked"],
        "goes peak": goes["memory"] - goes["before"],
        _IN_HANDS: goes["seconds"],
        "comes": comes["seconds"],
        "comes peak": comes["memory"] - comes["before"],
    }


def _run(way: str, size: int) -> dict[str, Any]:
    """On a service of its own, and with nothing left to be written to the disk: either makes it slow."""
    os.sync()
    with service_with(_HERE) as service:
        figures = run(_HERE, "transfer.py", f"{way} {size}", environment_of(service))
        if "job" in figures:
            job = service.client("sagemaker").describe_training_job(TrainingJobName=figures["job"])
            figures["created"] = job["CreationTime"].timestamp()
    return figures
