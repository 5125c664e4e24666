"""train, process, deploy, predict, delete: one after the other, on what ``smexec image init`` writes."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from smexec import images
from smexec.cli import app
from smexec.cli.train import grid
from smexec.testing import LocalService

TABLE = "x,y\n" + "".join(f"{number},{2 * number}\n" for number in range(20))


@pytest.fixture
def directory(smexec_service: LocalService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    images.init("python", "image")
    smexec_service.configure(image={"mine:1": "image"})
    (tmp_path / "data.csv").write_text(TABLE)
    return tmp_path


def run(*arguments: str, code: int = 0, stdin: str | None = None) -> str:
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, arguments, input=stdin)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == code, result.output
    return result.stdout


def train(*more: str, code: int = 0) -> list[dict[str, object]]:
    options = ("--source-dir", "image/code", "--input", "train=data.csv", "--image-uri", "mine:1", *more)
    return [json.loads(line) for line in run("train", "train.py", *options, code=code).splitlines()]


def test_a_model_is_trained_served_asked_and_deleted(directory: Path, smexec_service: LocalService) -> None:
    results = train("-p", "rounds=10", "-p", "rounds=50")
    assert sorted(str(result["hyperparameters"]) for result in results) == [
        "{'rounds': 10}",
        "{'rounds': 50}",
    ]
    run(
        "deploy",
        str(results[0]["model"]),
        "--image-uri",
        "mine:1",
        "--instance-type",
        "ml.m5.large",
        "--name",
        "cli-e",
    )
    sagemaker = smexec_service.client("sagemaker")
    assert sagemaker.describe_endpoint(EndpointName="cli-e")["EndpointStatus"] == "InService"
    one = run("predict", "cli-e", "[[3]]")
    assert run("predict", "cli-e", "-", stdin="[[3]]") == one
    assert json.loads(one)
    (directory / "rows.csv").write_text("3\n4\n")
    assert run("predict", "cli-e", "@rows.csv").strip()
    run("delete", "cli-e")
    assert not sagemaker.list_endpoints(NameContains="cli-e")["Endpoints"]
    assert not sagemaker.list_models(NameContains="cli-e")["Models"]


def test_what_fails_is_told_and_what_does_not_is_printed(directory: Path) -> None:
    script = directory / "image" / "code" / "train.py"
    check = "import sys\nif '13' in sys.argv: sys.exit('thirteen is too much')\n"
    script.write_text(script.read_text().replace("from __future__ import annotations\n", "", 1))
    script.write_text(check + script.read_text())
    (result,) = train("-p", "rounds=13", "-p", "rounds=10", code=1)
    assert result["hyperparameters"] == {"rounds": 10}


def test_a_report_is_made(directory: Path, smexec_service: LocalService) -> None:
    program = "import sys; open('/opt/ml/processing/output/out/said', 'w').write(' '.join(sys.argv[1:]))\n"
    (directory / "report.py").write_text(program)
    written = run("process", "report.py", "--output", "out", "--image-uri", "mine:1", "--", "--year", "2025")
    bucket, _, prefix = json.loads(written)["outputs"]["out"].removeprefix("s3://").partition("/")
    answer = smexec_service.client("s3").get_object(Bucket=bucket, Key=f"{prefix}/said")
    assert answer["Body"].read() == b"--year 2025"


# Says by the gate that it runs, and runs until it is told to end; or, told so, on.
HOLD = """
import pathlib, signal, sys
if "deaf" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path(sys.argv[-1]).write_text("runs")
while True:
    signal.pause()
"""


@contextlib.contextmanager
def interrupted(gate: Path, number: int, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The program as a process, which was sent a signal while its job ran."""
    command = [sys.executable, "-c", "from smexec.cli import main; main()", *arguments]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert gate.read_text() == "runs"
        process.send_signal(number)
        yield process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
@pytest.mark.parametrize("command", ["train", "process"])
def test_an_interrupt_stops_the_job(
    directory: Path, smexec_service: LocalService, gate: Path, command: str, number: int
) -> None:
    (directory / "hold.py").write_text(HOLD)
    more = ["-p", f"gate={gate}"] if command == "train" else ["--", str(gate)]
    with interrupted(gate, number, command, "hold.py", "--image-uri", "mine:1", *more) as process:
        _, said = process.communicate()
    assert process.returncode == 130
    assert said.startswith("smexec: stopping 1 of the jobs")
    assert "Traceback" not in said
    jobs = smexec_service.client("sagemaker")
    kind = {"train": "Training", "process": "Processing"}[command]
    listed = getattr(jobs, f"list_{kind.lower()}_jobs")(NameContains="hold")[f"{kind}JobSummaries"]
    assert {job[f"{kind}JobStatus"] for job in listed} == {"Stopped"}


def test_a_second_interrupt_leaves_at_once(directory: Path, smexec_service: LocalService, gate: Path) -> None:
    (directory / "hold.py").write_text(HOLD)
    arguments = ["process", "hold.py", "--image-uri", "mine:1", "--", "deaf", str(gate)]
    with interrupted(gate, signal.SIGINT, *arguments) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("smexec: stopping")
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
    assert process.returncode == -signal.SIGINT
    assert said == ""
    sagemaker = smexec_service.client("sagemaker")
    (job, *_) = sagemaker.list_processing_jobs(NameContains="hold")["ProcessingJobSummaries"]
    smexec_service.kill(job["ProcessingJobName"])


def test_data_that_are_not_there() -> None:
    result = CliRunner().invoke(app, ["predict", "name", "@nofile"])
    assert result.exit_code == 2
    assert "No such file or directory: 'nofile'" in result.output


def test_a_parameter_without_a_value_is_refused() -> None:
    result = CliRunner().invoke(app, ["train", "train.py", "-p", "rounds"])
    assert result.exit_code == 2
    assert "NAME=VALUE" in result.output


def test_parameters_make_a_grid() -> None:
    assert grid([]) == [{}]
    assert grid([("a", "1"), ("b", "x"), ("a", "2.5"), ("b", "true")]) == [
        {"a": 1, "b": "x"},
        {"a": 1, "b": True},
        {"a": 2.5, "b": "x"},
        {"a": 2.5, "b": True},
    ]
