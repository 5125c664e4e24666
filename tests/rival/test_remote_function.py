"""The SageMaker SDK's ``@remote`` and ``RemoteExecutor``, unmodified, on the local service.

``nox -s rival`` installs the SDK in an environment of its own, and names its Python in RIVAL_PYTHON.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

import smexec.testing

CONFIG = "SchemaVersion: '1.0'\nSageMaker: {PythonSDK: {Modules: {TelemetryOptOut: true}}}\n"


@pytest.mark.timeout(400)  # it sleeps between polls, and installs itself in every job
def test_the_rivals_client_runs_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = Path(os.environ["RIVAL_PYTHON"])
    # Jobs inherit the service's PATH: their `python` is the one that has the SDK.
    monkeypatch.setenv("PATH", f"{python.parent}{os.pathsep}{os.environ['PATH']}")
    with smexec.testing.local_service() as service:
        results = run_client(python, service, tmp_path)
        assert results == {
            "submit": 49,
            "map": [1, 4],
            "remote": 1.5,
            "error": "ZeroDivisionError: division by zero",
        }
        check_jobs(service)


def run_client(python: Path, service: smexec.testing.LocalService, directory: Path) -> Any:
    config = directory / "config.yaml"
    config.write_text(CONFIG, encoding="utf-8")
    environment = {
        **os.environ,
        **service.environment,
        "BUCKET": service.bucket,
        "TMPDIR": str(directory),  # where it leaves things
        "SAGEMAKER_USER_CONFIG_OVERRIDE": str(config),
    }
    client = Path(__file__).with_name("client.py")
    run = subprocess.run(
        [str(python), str(client)],
        env=environment,
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "dividing 3 by 2" in run.stdout + run.stderr  # it streams the job's log from CloudWatch
    return json.loads(run.stdout.splitlines()[-1])


def check_jobs(service: smexec.testing.LocalService) -> None:
    summaries = service.client("sagemaker").list_training_jobs()["TrainingJobSummaries"]
    statuses = sorted(summary["TrainingJobStatus"] for summary in summaries)
    assert statuses == ["Completed"] * 4 + ["Failed"]
