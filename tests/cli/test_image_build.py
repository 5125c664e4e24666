from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from smexec.cli import app

DOCKER = Path(__file__).parents[1] / "images"


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", str(DOCKER), prepend=":")
    monkeypatch.setenv("DOCKER_TOLD", str(tmp_path))
    (tmp_path / "image").mkdir()
    (tmp_path / "image" / "Dockerfile").write_text("FROM base\nRUN well\n")
    return tmp_path / "image"


def run(*arguments: str) -> tuple[int, str, BaseException | None]:
    result = CliRunner().invoke(app, ["image", "build", *arguments])
    return result.exit_code, result.output, result.exception


def test_the_log_then_the_image_and_its_digest(directory: Path) -> None:
    code, output, _ = run(str(directory), "--repository", "foo:1")
    assert code == 0, output
    *log, image, digest = output.splitlines()
    assert log == ["Step 1/2 : FROM base", "Step 2/2 : RUN well"]
    assert image == "Image:  foo:1"
    assert digest.startswith("Digest: sha256:")


def test_flags_of_docker_s_come_last(directory: Path, tmp_path: Path) -> None:
    run(str(directory), "--repository", "foo", "--no-logs", "--", "--label", "a=b", "--no-cache")
    (build,) = [line for line in (tmp_path / "commands").read_text().splitlines() if line.startswith("build")]
    assert build.endswith(f" --label a=b --no-cache {directory} ")


def test_without_the_log(directory: Path) -> None:
    _, output, _ = run(str(directory), "--repository", "foo", "--no-logs")
    assert len(output.splitlines()) == 2


def test_a_failure_is_one(directory: Path) -> None:
    (directory / "Dockerfile").write_text("FROM base\nRUN fail\n")
    code, _, error = run(str(directory), "--repository", "foo")
    assert code == 1
    assert "failed at step 2/2: RUN fail (exit code 5)" in str(error)


def test_lists_have_commas(directory: Path) -> None:
    network = ["--subnet-ids", "a, b", "--security-group-ids", "c"]
    code, _, error = run(str(directory), "--repository", "foo", *network)
    assert code == 1
    assert "go together" in str(error)
