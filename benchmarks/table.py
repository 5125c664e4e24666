"""What a benchmark hands back: tables, and curves to be drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class Curve:
    """:ivar points: (x, y), in order"""

    name: str
    points: list[tuple[float, float]]


@dataclass
class Plot:
    """Curves, a panel each. :ivar scale: of both axes, as matplotlib calls it"""

    name: str
    title: str
    x: str
    curves: list[Curve]
    scale: str = "log"


@dataclass
class Table:
    """Rows of text, as a reader sees them.

    :ivar notes: what one has to know to read it
    """

    title: str
    columns: Sequence[str]
    rows: list[list[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, *cells: object) -> None:
        """A row."""
        assert len(cells) == len(self.columns), cells
        self.rows.append([str(cell) for cell in cells])

    def markdown(self) -> str:
        """As a table of Markdown, its notes below it."""
        lines = [_row(self.columns), _row(["---", *["--:"] * (len(self.columns) - 1)])]
        lines += map(_row, self.rows)
        return "\n".join([f"**{self.title}**", "", *lines, *(f"\n{note}" for note in self.notes)])


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


@dataclass
class Result:
    """Of one benchmark."""

    tables: list[Table] = field(default_factory=list)
    plots: list[Plot] = field(default_factory=list)
