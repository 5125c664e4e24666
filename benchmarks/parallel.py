"""joblib's Parallel over our backend, beside the executor's own map."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from benchmarks.client import Report, fan_out
from benchmarks.clients.fan_out import Order
from benchmarks.setting import Setting
from benchmarks.table import Result, Table

JOBS, SLOTS = 4, 2  # eight calls at a time
SECONDS = 0.02  # of a call
WAYS = {"smexec": "executor.map", "smexec_joblib": "joblib.Parallel"}


def parallel(setting: Setting) -> Result:
    """2,000 calls of 20 ms through joblib, n_jobs=8, and through the executor's map."""
    calls, rounds = (400, 1) if setting.quick else (2000, 3)
    orders = [Order(library, calls, SECONDS, SECONDS, JOBS, SLOTS) for library in WAYS]
    runs: dict[str, list[Report]] = {way: [] for way in WAYS.values()}
    for _ in range(rounds):  # by turns, so that whatever else the machine does is done to both
        for order in orders:
            runs[WAYS[order.library]].append(fan_out(order))
    return Result([compared(calls, runs)])


def compared(calls: int, runs: Mapping[str, Sequence[Report]]) -> Table:
    """A row for each way, of medians. The first is what the others are compared with."""
    table = Table(
        f"{calls:,} calls of {SECONDS * 1000:.0f} ms, {JOBS * SLOTS} at a time",
        ("way", "wall s", "of", "÷ map's", "client CPU s", "peak MiB", "jobs", "S3 requests"),
        notes=["Medians. wall: from the first call's submission to the last result, the start included."],
    )
    base = 0.0
    for way, reports in runs.items():
        wall = _median(reports, "wall")
        base = base or wall
        jobs = statistics.median(report.requests["sagemaker.CreateTrainingJob"] for report in reports)
        s3 = statistics.median(report.asked("s3") for report in reports)
        table.add(
            way, f"{wall:.2f}", len(reports), f"{wall / base:.2f}", f"{_median(reports, 'cpu'):.2f}",
            f"{_median(reports, 'memory'):.0f}", f"{jobs:.0f}", f"{s3:.0f}",
        )  # fmt: skip
    return table


def _median(reports: Sequence[Report], figure: str) -> float:
    return statistics.median(float(report[figure]) for report in reports)
