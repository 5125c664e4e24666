"""What metric definitions find in a log; pure."""

from __future__ import annotations

import pytest

from smexec.local.metrics import Metrics, metric_problems

LOSS = {"Name": "loss", "Regex": r"loss=(\S+?);"}
RMSE = {"Name": "rmse", "Regex": r"rmse: ([0-9.]+)"}


def found(*lines: str) -> dict[str, tuple[float, float]]:
    metrics = Metrics([LOSS, RMSE])
    for at, line in enumerate(lines):
        metrics.observe(float(at), line)
    return {one["MetricName"]: (one["Value"], one["Timestamp"]) for one in metrics.final()}


@pytest.mark.parametrize(
    ("lines", "last"),
    [
        ((), {}),
        (("loss=0.5;", "loss=0.25; rmse: 2", "done"), {"loss": (0.25, 1.0), "rmse": (2.0, 1.0)}),
        (("rmse: 2", "loss=1e-3;"), {"loss": (0.001, 1.0), "rmse": (2.0, 0.0)}),
        (("loss=1; loss=2;",), {"loss": (2.0, 0.0)}),
        (("loss=1;", "loss=low;", "loss=nan;", "loss=inf;"), {"loss": (1.0, 0.0)}),
    ],
)
def test_the_last_number_counts(lines: tuple[str, ...], last: dict[str, tuple[float, float]]) -> None:
    assert found(*lines) == last


@pytest.mark.parametrize("regex", ["loss", "(a)?loss"])
def test_an_expression_that_finds_no_value_finds_nothing(regex: str) -> None:
    metrics = Metrics([{"Name": "loss", "Regex": regex}])
    metrics.observe(0.0, "loss")
    assert metrics.final() == []


def test_what_is_no_expression_is_refused() -> None:
    assert not [*metric_problems([LOSS, RMSE])]
    [problem] = metric_problems([LOSS, {"Name": "b", "Regex": "("}])
    assert problem.startswith("Invalid regular expression for the metric b: ")
