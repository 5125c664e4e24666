"""What calls that are awaited at the same time cost the loop that awaits them."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.client import environment_of, run, service_with
from benchmarks.setting import Setting
from benchmarks.table import Result, Table

_HERE = Path(sys.executable)
_READING = (
    "CPU time of the loop's own thread, by the operating system's count: what the service's other requests "
    "have to do without. submit: until all calls are submitted, pickling included; await: from there to the "
    "last result."
)


def awaits(setting: Setting) -> Result:
    """1,000 concurrent awaits: CPU time of the caller's loop."""
    sizes = (100, 1000) if setting.quick else (100, 1000, 10_000)
    with service_with(_HERE) as service:
        figures = {size: run(_HERE, "awaits.py", str(size), environment_of(service)) for size in sizes}
    return Result([cost(figures)])


def cost(figures: Mapping[int, Mapping[str, Any]]) -> Table:
    """A row for each number of awaits, per await."""
    table = Table(
        "What concurrent awaits cost the caller's loop",
        ("at a time", "submit ms", "await ms", "together ms", "wall s"),
        notes=[_READING],
    )
    for count, spent in figures.items():
        submit, awaited = (1000 * spent[name] / count for name in ("submit", "await"))
        table.add(
            f"{count:,}", f"{submit:.3f}", f"{awaited:.3f}", f"{submit + awaited:.3f}", f"{spent['wall']:.1f}"
        )
    return table
