"""``smexec demo``: a parameter grid as Training Jobs on this machine, watched while it runs."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from smexec.demo import Combination, Score, draw_heat_map, grid, ranked, search
from smexec.errors import SmexecError

if TYPE_CHECKING:
    from smexec.executor import SageMakerExecutor

PODIUM = 5  # lines of the ranked table
GOOD, FAIR = 0.95, 0.8  # accuracies from which a cell is green, or yellow


def demo(
    picture: Annotated[Path, typer.Option(help="Where the heat map goes, as PNG.")] = Path("smexec-demo.png"),
    workers: Annotated[int, typer.Option(min=1, help="Jobs at a time.")] = os.cpu_count() or 1,
) -> None:
    """Run a parameter grid as Training Jobs on this machine, and draw its heat map."""
    _need_the_extras()
    from smexec.executor import SageMakerExecutor

    console = Console()
    console.print("[bold]smexec demo[/]: support vector machines on handwritten digits, a grid of C × gamma.")
    console.print("Each combination is a Training Job; they run on smexec's own service, on loopback.\n")
    start = time.perf_counter()
    with SageMakerExecutor(workers, instance_type="local") as executor:
        scores = watch(console, executor, grid())
    took = time.perf_counter() - start
    console.print()
    console.print(podium(scores))
    draw_heat_map(scores, picture)
    console.print(f"\n{len(scores)} jobs in {took:.1f} s, {workers} at a time. The heat map: {picture}")


def watch(console: Console, executor: SageMakerExecutor, combinations: Sequence[Combination]) -> list[Score]:
    """Run the search and show each score as it comes."""
    scores: list[Score] = []

    def dashboard() -> Group:
        bar = Table.grid(padding=(0, 1))
        count = f"{len(scores)} of {len(combinations)}"
        bar.add_row(ProgressBar(total=len(combinations), completed=len(scores), width=40), count)
        return Group(board(combinations, scores), bar, Text(repr(executor), style="dim"))

    with Live(get_renderable=dashboard, console=console, refresh_per_second=8):
        for score in search(executor, combinations):
            scores.append(score)  # noqa: PERF402  # the dashboard shows the list as it grows
    return scores


def board(combinations: Sequence[Combination], scores: Sequence[Score]) -> Table:
    """The grid with the scores so far: C down, gamma across."""
    known = {score.combination: score.accuracy for score in scores}
    gammas = sorted({combination.gamma for combination in combinations})
    table = Table("C ╲ gamma", *(f"{gamma:g}" for gamma in gammas))
    for c in sorted({combination.C for combination in combinations}):
        accuracies = [known.get(Combination(c, gamma)) for gamma in gammas]
        table.add_row(f"{c:g}", *map(_cell, accuracies))
    return table


def _cell(accuracy: float | None) -> Text:
    if accuracy is None:
        return Text("·", style="dim")
    style = "bold green" if accuracy > GOOD else "yellow" if accuracy > FAIR else "red"
    return Text(f"{accuracy:.3f}", style=style)


def podium(scores: Sequence[Score]) -> Table:
    """The best combinations, ranked."""
    table = Table("rank", "C", "gamma", "accuracy", title="Best combinations", title_justify="left")
    for rank, (combination, accuracy) in enumerate(ranked(scores)[:PODIUM], start=1):
        table.add_row(str(rank), f"{combination.C:g}", f"{combination.gamma:g}", f"{accuracy:.4f}")
    return table


def _need_the_extras() -> None:
    missing = [name for name in ("matplotlib", "moto", "sklearn") if find_spec(name) is None]
    if missing:
        raise SmexecError(f"the demo needs {', '.join(missing)}: pip install 'smexec[local,report]'")
