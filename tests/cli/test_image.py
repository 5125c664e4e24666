from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from smexec.cli import app
from smexec.errors import ImageError


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["image", *arguments], catch_exceptions=False)
    return result.exit_code, result.output


def test_init_tells_what_it_has_written(tmp_path: Path) -> None:
    code, output = run("init", "any", str(tmp_path), "--for", "processing")
    assert code == 0
    written = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert {Path(line) for line in output.splitlines()} == written


def test_init_overwrites_only_by_force(tmp_path: Path) -> None:
    run("init", "any", str(tmp_path))
    with pytest.raises(ImageError, match="there already"):
        run("init", "any", str(tmp_path))
    assert run("init", "any", str(tmp_path), "--force")[0] == 0


def test_check_says_what_holds_and_what_does_not(tmp_path: Path) -> None:
    run("init", "any", str(tmp_path), "--for", "training")
    code, output = run("check", str(tmp_path), "--for", "training")
    assert code == 0, output
    assert [line.split(":")[0] for line in output.splitlines()] == ["✓ train", "✓ failure file", "✓ SIGTERM"]
    (tmp_path / "run.sh").write_text("exit 3\n")
    code, output = run("check", str(tmp_path), "--for", "training")
    assert code == 1
    assert "✗ train: AlgorithmError: , exit code: 3" in output
