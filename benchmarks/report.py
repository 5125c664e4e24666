"""Results → Markdown and pictures, in a folder of the user's or in the documentation."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from benchmarks.environments import ROOT
from benchmarks.table import Plot, Result

PAGE = ROOT / "docs" / "benchmarks.md"
IMAGES = ROOT / "docs" / "images"


@dataclass(frozen=True)
class Measured:
    """:ivar load: of the machine before it, by others"""

    name: str
    machine: str
    load: str
    result: Result


def markdown(measured: Measured) -> str:
    """All its tables, and what they were measured on."""
    tables = [table.markdown() for table in measured.result.tables]
    return "\n\n".join([*tables, f"Measured on {measured.machine}; load before it {measured.load}."])


def write(measured: Measured, folder: Path) -> None:
    """Tables as Markdown, figures as PNG."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.joinpath(f"{measured.name}.md").write_text(markdown(measured) + "\n", encoding="utf-8")
    for plot in measured.result.plots:
        draw(plot, folder / f"{plot.name}.png")


def document(measured: Measured) -> None:
    """Put it between the marks that docs/benchmarks.md has for it."""
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), measured), encoding="utf-8")
    for plot in measured.result.plots:
        draw(plot, IMAGES / f"benchmark-{plot.name}.png")


def filled(page: str, measured: Measured) -> str:
    """The page with these results in the place of the former.

    :raises ValueError: the page has no such place
    """
    begin, end = f"<!-- begin {measured.name} -->", f"<!-- end {measured.name} -->"
    text = f"{begin}\n{markdown(measured)}\n{end}"
    new, count = re.subn(f"{re.escape(begin)}.*?{re.escape(end)}", lambda _: text, page, flags=re.DOTALL)
    if count != 1:
        raise ValueError(f"the page has {count} places for {measured.name}, and should have one")
    return new


def draw(plot: Plot, path: Path) -> None:
    """Its curves, a panel each, over logarithmic axes."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(
        1, len(plot.curves), figsize=(3.2 * len(plot.curves), 3.0), squeeze=False, layout="constrained"
    )
    for panel, curve in zip(panels[0], plot.curves, strict=True):
        panel.plot(*zip(*curve.points, strict=True), marker="o", color="#1f5fa8", linewidth=1.5, markersize=4)
        panel.set_xscale(plot.scale)
        panel.set_yscale(plot.scale)
        panel.set_title(curve.name, fontsize=10)
        panel.set_xlabel(plot.x, fontsize=9)
        panel.tick_params(labelsize=8)
        panel.grid(visible=True, alpha=0.3)
    figure.suptitle(plot.title, fontsize=11)
    figure.savefig(path, dpi=110)
    plt.close(figure)
