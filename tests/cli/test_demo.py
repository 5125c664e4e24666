from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

import smexec.cli.demo
from smexec.cli import app
from smexec.demo import Combination, Score, grid


def render(item: object) -> str:
    console = Console(file=io.StringIO(), width=80)
    console.print(item)
    return str(console.file.getvalue())  # type: ignore[attr-defined]


def test_the_board_shows_what_is_known() -> None:
    combinations = grid([1, 10], [0.1, 0.2])
    text = render(smexec.cli.demo.board(combinations, [Score(Combination(1, 0.2), 0.975)]))
    assert text.count("·") == 3
    assert "0.975" in text


def test_the_podium_has_the_best_on_top() -> None:
    scores = [Score(Combination(1, 0.1), 0.5), Score(Combination(10, 0.1), 0.75)]
    lines = render(smexec.cli.demo.podium(scores)).splitlines()
    first, second = (next(line for line in lines if f"│ {rank} " in line) for rank in (1, 2))
    assert "0.7500" in first
    assert "0.5000" in second


def test_the_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smexec.cli.demo, "grid", lambda: grid([1.0], [0.001, 0.01]))
    picture = tmp_path / "demo.png"
    result = CliRunner(env={"COLUMNS": "120"}).invoke(app, ["demo", "--picture", str(picture)])
    assert result.exit_code == 0, result.output
    assert "2 jobs in" in result.output
    assert "0.9" in result.output
    assert picture.read_bytes().startswith(b"\x89PNG")
