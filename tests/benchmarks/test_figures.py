"""What becomes of measurements: exponents, tables, pages."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import report
from benchmarks.__main__ import BENCHMARKS
from benchmarks.growth import exponent
from benchmarks.report import Measured
from benchmarks.table import Curve, Plot, Result, Table


@given(st.floats(-2, 3), st.floats(0.001, 1000))
def test_an_exponent_is_found_again(power: float, factor: float) -> None:
    sizes = [100.0, 1000.0, 10_000.0]
    assert exponent(sizes, [factor * size**power for size in sizes]) == pytest.approx(power, abs=1e-6)


def test_costs_below_nothing_are_left_out() -> None:
    """A figure may fall below what was taken for the fixed part."""
    assert exponent([1.0, 10.0, 100.0], [-1.0, 10.0, 100.0]) == pytest.approx(1.0)
    assert math.isnan(exponent([1.0, 10.0], [-1.0, 10.0]))


def table() -> Table:
    table = Table("Title", ("name", "s"), notes=["A note."])
    table.add("one", 1.5)
    return table


def test_a_table_reads_as_markdown() -> None:
    lines = table().markdown().splitlines()
    assert lines == ["**Title**", "", "| name | s |", "| --- | --: |", "| one | 1.5 |", "", "A note."]


def test_a_row_has_all_cells() -> None:
    with pytest.raises(AssertionError):
        table().add("two")


def test_a_page_takes_new_results_in_the_place_of_the_old() -> None:
    page = "before\n<!-- begin x -->\nold\n<!-- end x -->\nafter\n"
    once = report.filled(page, measured())
    assert "old" not in once
    assert "| one | 1.5 |" in once
    assert "on a machine" in once
    assert once.startswith("before\n")
    assert once.endswith("after\n")
    assert report.filled(once, measured()) == once


def test_a_page_without_a_place_is_an_error() -> None:
    with pytest.raises(ValueError, match="0 places for x"):
        report.filled("nothing", measured())


def test_the_documentation_has_a_place_for_each_benchmark() -> None:
    page = report.PAGE.read_text(encoding="utf-8")
    assert set(re.findall(r"<!-- begin (\w+) -->", page)) == set(BENCHMARKS)


def test_a_figure_is_drawn(tmp_path: Path) -> None:
    report.write(measured(), tmp_path)
    assert (tmp_path / "x.md").read_text(encoding="utf-8").startswith("**Title**")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


def measured() -> Measured:
    plot = Plot("curve", "A curve", "calls", [Curve("s", [(1.0, 1.0), (10.0, 5.0)])])
    return Measured("x", "a machine", "0.1", Result([table()], [plot]))
