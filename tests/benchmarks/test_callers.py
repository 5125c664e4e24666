"""Tables of what joblib and event loops pay, from figures that are given."""

from __future__ import annotations

from collections import Counter

from benchmarks.awaits import cost
from benchmarks.client import Report
from benchmarks.parallel import compared


def report(wall: float, jobs: int) -> Report:
    requests = Counter({"sagemaker.CreateTrainingJob": jobs, "s3.GetObject": 7, "s3.PutObject": 3})
    return Report({"wall": wall, "cpu": 0.5, "memory": 80.4}, requests)


def test_ways_are_compared_by_their_medians() -> None:
    runs = {"map": [report(10.0, 4), report(90.0, 4), report(8.0, 4)], "joblib": [report(12.0, 5)]}
    table = compared(2000, runs)
    assert table.title == "2,000 calls of 20 ms, 8 at a time"
    assert table.rows == [
        ["map", "10.00", "3", "1.00", "0.50", "80", "4", "10"],
        ["joblib", "12.00", "1", "1.20", "0.50", "80", "5", "10"],
    ]


def test_awaits_are_counted_in_milliseconds_each() -> None:
    table = cost({1000: {"submit": 0.25, "await": 0.5, "wall": 2.04}})
    assert table.rows == [["1,000", "0.250", "0.500", "0.750", "2.0"]]
