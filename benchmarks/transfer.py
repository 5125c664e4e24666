"""A large array in and out, beside plain boto3 with the same bytes at the same endpoint."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from benchmarks.client import environment_of, run, service_with
from benchmarks.setting import Setting
from benchmarks.table import Result, Table
from smexec.testing import LocalService

_HERE = Path(sys.executable)


_READING = (
    "goes: from submit() to the job's creation, beside upload_file. in the call's hands: to the call's first "
    "line, beside upload_file and download_file, as the container downloads too. comes: from the call's end "
    "to result(), beside upload_file (the container's) and download_file. Memory: the client's peak, less "
    "what it had before the payload."
)


def transfer(setting: Setting) -> Result:
    """1 GiB each way."""
    size = (1 << 27) if setting.quick else (1 << 30)
    table = Table(
        f"An array of {size / 2**30:.3g} GiB",
        ("way", "smexec s", "plain boto3 s", "share of plain", "peak memory ÷ payload"),
        notes=[_READING],
    )
    with service_with(_HERE) as service:
        plain = _run(service, "plain", size)
        goes = _run(service, "goes", size)
        comes = _run(service, "comes", size)
        job = service.client("sagemaker").describe_training_job(TrainingJobName=goes["job"])
    up, both = plain["up"], plain["up"] + plain["down"]
    created = job["CreationTime"].timestamp() - goes["asked"]
    _add(table, "goes", created, up, _peak(goes, size))
    _add(table, "goes, in the call's hands", goes["seconds"], both, "")
    _add(table, "comes", comes["seconds"], both, _peak(comes, size))
    return Result([table])


def _add(table: Table, way: str, seconds: float, plain: float, peak: str) -> None:
    table.add(way, f"{seconds:.2f}", f"{plain:.2f}", f"{plain / seconds:.0%}", peak)


def _peak(figures: dict[str, Any], size: int) -> str:
    return f"{(figures['memory'] - figures['before']) / size:.2f}"


def _run(service: LocalService, way: str, size: int) -> dict[str, Any]:
    return run(_HERE, "transfer.py", f"{way} {size}", environment_of(service))
