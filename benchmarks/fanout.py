"""Many calls at once: beside the libraries for one machine, and beside the SageMaker SDK's own client."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

from benchmarks.client import Report, fan_out
from benchmarks.clients.fan_out import Order
from benchmarks.environments import Skipped, environment
from benchmarks.setting import Setting
from benchmarks.table import Result, Table

#: What the account allows, a second. Nobody's guess but facts of users: about one create, two lists.
RATES = {"CreateTrainingJob": 1.0, "ListTrainingJobs": 2.0}
SLOTS = 2  # calls side by side in a job
LOCAL = ("process_pool", "loky", "joblib", "dask", "lithops")
#: lithops starts an interpreter for each call, and asks once a second: more calls would say nothing new.
FEWER = {"lithops": 100}

_COLUMNS = (
    "library", "calls", "wall s", "ideal s", "share of ideal", "start s", "rest s",
    "client CPU s", "peak MiB", "threads",
)  # fmt: skip
_READING = (
    "Ideal: calls × time ÷ slots + start, where the start is what the service takes: its cold start, and "
    "one second for each further job that it lets be created. start: until the first call began; rest: from "
    "there to the last result. CPU and memory are the client process's, its imports included."
)


def long_calls(setting: Setting) -> Result:
    """1,000 calls of 50 ms: a fan-out's shape, in small."""
    calls = 200 if setting.quick else 1000
    scenarios = [(4, 0.0)] if setting.quick else [(4, 0.0), (30, 0.0), (4, 90.0), (30, 90.0)]
    table = Table(f"{calls:,} calls of 50 ms", _COLUMNS, notes=[_READING])
    requests = Table("Requests per call", ("smexec", "SageMaker", "S3", "by API"))
    fastest = 0.0
    for quota, cold in scenarios:
        report = fan_out(
            Order("smexec", calls, 0.05, 0.05, workers=quota, slots=SLOTS),
            rates=RATES, quotas={"total": quota}, cold_start=cold,
        )  # fmt: skip
        name = f"{quota} instances × {SLOTS} slots, {cold:.0f} s cold"
        ideal = calls * 0.05 / (quota * SLOTS) + cold + (quota - 1) / RATES["CreateTrainingJob"]
        _add(table, f"smexec, {name}", calls, ideal, report)
        _count(requests, name, calls, report)
        if (quota, cold) == scenarios[0]:
            fastest = calls / report["wall"]
    _beside(table, setting, calls, 0.05, workers=4 * SLOTS)
    return Result([table, requests, _rival(setting, fastest)])


def short_calls(setting: Setting) -> Result:
    """10,000 calls of 1 ms: what a call costs besides itself."""
    calls = 2000 if setting.quick else 10_000
    table = Table(f"{calls:,} calls of 1 ms, two at a time", _COLUMNS, notes=[_READING])
    report = fan_out(Order("smexec", calls, 0.001, 0.001, workers=1, slots=2))
    _add(table, "smexec, 1 job × 2 slots", calls, calls * 0.001 / 2, report)
    rests = _beside(table, setting, calls, 0.001, workers=2)
    if "loky" in rests:
        ratio = (report["wall"] - report["start"]) / rests["loky"]
        table.notes.append(f"Start excluded, smexec takes {ratio:.2f} × as long as loky.")
    requests = Table("Requests per call", ("smexec", "SageMaker", "S3", "by API"))
    _count(requests, "1 job × 2 slots", calls, report)
    return Result([table, requests])


def _beside(table: Table, setting: Setting, calls: int, seconds: float, workers: int) -> dict[str, float]:
    """Add the libraries for one machine; the seconds that each took after its start."""
    rests = {}
    for library in LOCAL[:2] if setting.quick else LOCAL:
        some = min(calls, FEWER.get(library, calls))
        try:
            report = fan_out(Order(library, some, seconds, seconds, workers), _python(library, setting))
        except Skipped as reason:
            table.notes.append(f"{library} was left out: {reason}.")
            continue
        _add(table, f"{library}, {workers} processes", some, some * seconds / workers, report)
        rests[library] = report["wall"] - report["start"]
    return rests


def _python(library: str, setting: Setting) -> Path:
    return environment(library, setting.environments).python


def _add(table: Table, name: str, calls: int, ideal: float, report: Report) -> None:
    wall, start = report["wall"], report["start"]
    table.add(
        name, f"{calls:,}", f"{wall:.2f}", f"{ideal:.2f}", f"{ideal / wall:.0%}", f"{start:.2f}",
        f"{wall - start:.2f}", f"{report['cpu']:.2f}", f"{report['memory']:.0f}", report["threads"],
    )  # fmt: skip


def _count(table: Table, name: str, calls: int, report: Report) -> None:
    by_api = Counter(report.requests).most_common()
    table.add(
        name,
        f"{report.asked('sagemaker') / calls:.4f}",
        f"{report.asked('s3') / calls:.4f}",
        ", ".join(f"{operation.partition('.')[2]} {count}" for operation, count in by_api),
    )


# -- the rival ---------------------------------------------------------------------------------------------


_RIVALS_READING = (
    "It makes a job of each call, so few were measured, and their pace was extrapolated. Its fixed time in a "
    "container (5 s, mostly imports) runs here on the same two cores as everything else, so the last line is "
    "the fair one: with instances that cost it nothing, it is still held by the one create a second that the "
    "service allows."
)


def _rival(setting: Setting, fastest: float) -> Table:
    """The SDK's client with few calls, since each is a job, and what follows for many."""
    table = Table(
        "The SageMaker SDK's RemoteExecutor on the same service",
        ("scenario", "calls", "wall s", "calls/s", "1,000 calls, extrapolated", "smexec's throughput ÷ its"),
        notes=[_RIVALS_READING],
    )
    scenarios = [] if setting.quick else [(4, 0.0, 8), (30, 0.0, 10), (4, 90.0, 4)]
    for quota, cold, calls in scenarios:
        try:
            pace = calls / _rivals_wall(setting, quota, cold, calls, table)
        except Skipped as reason:
            table.notes.append(f"{quota} instances, {cold:.0f} s cold was left out: {reason}.")
            continue
        ratio = f"{fastest / pace:,.0f}" if cold == 0 else "–"
        wall = f"{calls / pace:.1f}"
        table.add(
            f"{quota} instances, {cold:.0f} s cold", calls, wall, f"{pace:.3f}", _long(1000 / pace), ratio
        )
    create = RATES["CreateTrainingJob"]
    table.add(
        "at its best: the service's rate",
        "–",
        "–",
        f"{create:.3f}",
        _long(1000 / create),
        f"{fastest / create:,.0f}",
    )
    return table


def _rivals_wall(setting: Setting, quota: int, cold: float, calls: int, table: Table) -> float:
    if sys.version_info >= (3, 13):
        raise Skipped("the SDK's version 2 does not install on Python 3.13")
    report = fan_out(
        Order("sagemaker", calls, 0.05, 0.05, workers=quota), _python("sagemaker", setting),
        rates=RATES, quotas={"total": quota}, cold_start=cold,
    )  # fmt: skip
    asked = {name: report.asked(name) / calls for name in ("sagemaker", "s3", "logs")}
    table.notes.append(
        f"{quota} instances, {cold:.0f} s cold: {asked['sagemaker']:.1f} SageMaker, {asked['s3']:.1f} S3 and "
        f"{asked['logs']:.1f} CloudWatch requests a call; client CPU {report['cpu']:.1f} s, peak "
        f"{report['memory']:.0f} MiB, {report['threads']} threads."
    )
    return float(report["wall"])


def _long(seconds: float) -> str:
    return f"{seconds:,.0f} s ({seconds / 60:.0f} min)"
