"""How cost grows with the number of calls."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from benchmarks.client import Report, fan_out
from benchmarks.clients.fan_out import Order
from benchmarks.setting import Setting
from benchmarks.table import Curve, Plot, Result, Table

COSTS: dict[str, Callable[[Report], float]] = {
    "wall s": lambda report: float(report["wall"]),
    "client CPU s": lambda report: float(report["cpu"]),
    "peak MiB": lambda report: float(report["memory"]),
    "SageMaker requests": lambda report: report.asked("sagemaker"),
    "S3 requests": lambda report: report.asked("s3"),
}


def growth(setting: Setting) -> Result:
    """10² … 10⁵ calls that do nothing, and the exponent of each cost."""
    sizes = [10**power for power in ((2, 3) if setting.quick else (2, 3, 4, 5))]
    reports = {calls: _run(calls) for calls in [1, *sizes]}
    fixed = reports[1]
    table = Table(
        "Cost of calls that do nothing, 4 jobs of 2 slots at a time",
        ("calls", *COSTS),
        notes=["The exponent k is fitted to cost = fixed + c · callsᵏ; fixed is what one call costs."],
    )
    for calls, report in reports.items():
        table.add(f"{calls:,}", *(f"{cost(report):,.1f}" for cost in COSTS.values()))
    above = {name: [cost(reports[n]) - cost(fixed) for n in sizes] for name, cost in COSTS.items()}
    table.add("exponent", *(f"{exponent(sizes, above[name]):.2f}" for name in COSTS))
    table.add("of the last decade", *(f"{exponent(sizes[-2:], above[name][-2:]):.2f}" for name in COSTS))
    curves = [Curve(name, [(float(n), cost(reports[n])) for n in sizes]) for name, cost in COSTS.items()]
    return Result([table], [Plot("growth", "Cost of a fan-out of calls that do nothing", "calls", curves)])


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """The k of costs ~ sizesᵏ, by least squares of the logarithms; of the costs above nothing."""
    points = [(math.log(x), math.log(y)) for x, y in zip(sizes, costs, strict=True) if y > 0]
    if len(points) < 2:  # noqa: PLR2004  # a line takes two
        return math.nan
    mean_x, mean_y = (sum(column) / len(points) for column in zip(*points, strict=True))
    slope: float = sum((x - mean_x) * (y - mean_y) for x, y in points) / sum(
        (x - mean_x) ** 2 for x, _ in points
    )
    return slope


def _run(calls: int) -> Report:
    return fan_out(Order("smexec", calls, 0.0, 0.0, workers=4, slots=2))
