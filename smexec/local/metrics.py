"""What MetricDefinitions find in a training job's log; pure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Definitions = Sequence[Mapping[str, str]]


class Metrics:
    """The last value of each metric.

    Args:
        definitions: MetricDefinitions of the request.
    """

    def __init__(self, definitions: Definitions = ()) -> None:
        self._patterns = {one["Name"]: re.compile(one["Regex"]) for one in definitions}
        self._last: dict[str, tuple[float, float]] = {}

    def observe(self, at: float, line: str) -> None:
        """A line of the log, and when it came, in epoch seconds."""
        for name, pattern in self._patterns.items():
            for match in pattern.finditer(line):
                value = _number(match)
                if value is not None:
                    self._last[name] = (value, at)

    def final(self) -> list[dict[str, Any]]:
        """FinalMetricDataList, in the order of the definitions."""
        return [
            {"MetricName": name, "Value": self._last[name][0], "Timestamp": self._last[name][1]}
            for name in self._patterns
            if name in self._last
        ]


def _number(match: re.Match[str]) -> float | None:
    """What the first group has found, if that is a number."""
    try:
        value = float(match[1])
    except (IndexError, TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None


def metric_problems(definitions: Definitions) -> Iterator[str]:
    """What is wrong with the expressions; the service reads them as Java does, which mostly is the same."""
    for one in definitions:
        try:
            re.compile(one["Regex"])
        except re.error as error:
            yield f"Invalid regular expression for the metric {one['Name']}: {error}."
