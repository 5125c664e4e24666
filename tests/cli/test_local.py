"""``smexec local``, as a shell uses it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from typer.testing import CliRunner

from smexec.cli import app, local
from smexec.local import lease as leases
from smexec.local.config import ServiceConfig
from smexec.local.lease import Place, lease, running

RUNNER = CliRunner()
PROGRAM = [sys.executable, "-c", "from smexec.cli import main; main()", "local"]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """The place of a user of this test's own, who has no service running; afterwards none is."""
    runtime = tmp_path / "run"
    runtime.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    yield Place()
    stopped = RUNNER.invoke(app, ["local", "--stop"])
    assert stopped.exit_code == 0
    assert list(runtime.iterdir()) == []


def exports(output: str) -> dict[str, str]:
    """What a shell makes of it."""
    shell = subprocess.run(["sh", "-c", f"{output}\nenv"], capture_output=True, text=True, check=True, env={})
    return dict(line.split("=", 1) for line in shell.stdout.splitlines())


def invoke(*options: str) -> str:
    result = RUNNER.invoke(app, ["local", *options])
    assert result.exit_code == 0, result.output
    return result.stdout


class TestInTheBackground:
    def test_from_detach_to_stop(self, place: Place) -> None:
        output = invoke(
            "--detach", "--region", "eu-west-1", "--delays", "Starting=0.1", "--delays", "Uploading=0.1"
        )
        assert all(line.startswith("export ") for line in output.splitlines())
        environment = exports(output)
        assert environment["AWS_REGION"] == environment["AWS_DEFAULT_REGION"] == "eu-west-1"
        assert environment["SMEXEC_S3_ROOT_URI"].startswith("s3://sagemaker-eu-west-1-")
        assert environment["SMEXEC_ROLE"].startswith("arn:aws:iam::")
        session = boto3.Session(environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"])
        s3 = session.client("s3", region_name="eu-west-1", endpoint_url=environment["AWS_ENDPOINT_URL"])
        assert s3.list_buckets()["Buckets"]

        assert invoke("--detach") == output  # the one that runs
        with lease(place) as held:  # instance_type="local" uses it, too
            assert held.endpoint_url == environment["AWS_ENDPOINT_URL"]
        another = RUNNER.invoke(app, ["local", "--detach", "--region", "us-west-2"])
        assert another.exit_code == 1
        assert "is running already" in another.stderr

        assert invoke("--stop") == ""
        assert running(place) is None

    def test_one_that_somebody_has_leased_stays(self, place: Place) -> None:
        with lease(place) as held:
            assert exports(invoke("--detach"))["AWS_ENDPOINT_URL"] == held.endpoint_url
        assert running(place)

    def test_stop_without_one(self) -> None:
        result = RUNNER.invoke(app, ["local", "--stop"])
        assert (result.exit_code, result.stdout) == (0, "")
        assert "no local service is running" in result.stderr


@pytest.mark.parametrize("end", ["interrupt", "stop"])
def test_in_the_foreground(place: Place, end: str) -> None:
    with subprocess.Popen(PROGRAM, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        lines = [process.stdout.readline() for _ in range(9)]
        environment = exports("".join(lines))
        description = running(place)
        assert description is not None
        assert description["pid"] == process.pid
        assert description["endpoint_url"] == environment["AWS_ENDPOINT_URL"]
        another = RUNNER.invoke(app, ["local"])
        assert another.exit_code == 1
        if end == "stop":
            invoke("--stop")
        else:
            process.send_signal(signal.SIGINT)
        assert (process.stdout.read(), process.stderr.read(), process.wait()) == ("", "", 0)


def test_stop_waits_until_all_is_removed(place: Place) -> None:
    slowly = "rmdir = Path.rmdir; Path.rmdir = lambda path: (time.sleep(0.5), rmdir(path))[1]"
    program = f"import time; from pathlib import Path; {slowly}; {PROGRAM[2]}"
    command = [sys.executable, "-c", program, "local"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        invoke("--stop")
        assert not place.directory.exists()


def test_stopping_one_that_ends_by_itself_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = {"endpoint_url": "http://127.0.0.1:9", "pid": 0}  # where nobody listens
    monkeypatch.setattr(leases, "running", lambda place: gone)
    assert invoke("--stop") == ""


class TestOptions:
    def test_each_setting_has_one(self) -> None:
        shown = RUNNER.invoke(app, ["local", "--help"], env={"COLUMNS": "200"}).output
        for name in vars(ServiceConfig()):
            assert (f"--{name.replace('_', '-')} " in shown) == (name not in local.NO_OPTIONS)

    def test_settings_arrive(self) -> None:
        options = {
            "detach": True,
            "realistic": True,
            "quotas": ["ml.m5.large=7"],
            "port": None,
            "stop_grace": 3.5,
        }
        options.pop("detach")
        config = local._config(options)
        assert config.quotas["ml.m5.large"] == 7
        assert config.quotas["*"] == 0
        assert config.stop_grace == 3.5
        assert config.cold_start == 85.0

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--quotas", "many"], "expected NAME=VALUE"),
            (["--rates", "x=y"], "invalid NAME=VALUE value"),
            (["--engine", "rocket"], "rocket"),
            (["--port", "x"], "valid int"),
        ],
    )
    def test_what_cannot_be_is_refused(self, options: list[str], message: str) -> None:
        result = RUNNER.invoke(app, ["local", "--detach", *options], env={"COLUMNS": "200", "NO_COLOR": "1"})
        assert result.exit_code == 2
        assert message in result.stderr


def test_exports_are_quoted(capsys: pytest.CaptureFixture[str]) -> None:
    awkward = {"A": "it's $HOME; rm -rf x"}
    local._print_exports(awkward)
    assert exports(capsys.readouterr().out)["A"] == awkward["A"]
    assert "A" not in os.environ
