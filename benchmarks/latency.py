"""From a call's end in its container to its result in the client's hands."""

from __future__ import annotations

from benchmarks.client import fan_out
from benchmarks.clients.fan_out import Order
from benchmarks.setting import Setting
from benchmarks.table import Result, Table

JOBS, SLOTS = 4, 8
SHORTEST, LONGEST = 0.2, 1.0  # seconds: their ends spread over time, as real ones do
SAMPLES = 200  # at least


def latency(setting: Setting) -> Result:
    """Median and 99th percentile with 10, 100 and 1,000 calls in flight."""
    table = Table(
        f"Latency: a call's end to its result, {JOBS} jobs of {SLOTS} slots, calls of {SHORTEST}–{LONGEST} s",
        ("in flight", "samples", "median s", "p99 s", "most s"),
    )
    for calls in (10, 100) if setting.quick else (10, 100, 1000):
        rounds = 2 if setting.quick else max(1, SAMPLES // calls)
        order = Order("smexec", calls, SHORTEST, LONGEST, JOBS, SLOTS, ordered=False, rounds=rounds)
        seen = fan_out(order)["latency"]
        table.add(f"{calls:,}", calls * rounds, *(f"{seen[name]:.2f}" for name in ("median", "p99", "most")))
    return Result([table])
