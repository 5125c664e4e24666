"""The SageMaker SDK, unmodified, on the local service: ``@remote`` and ``RemoteExecutor``, and its classes
for containers of one's own with our image for R.

``nox -s rival`` installs the SDK in an environment of its own, and names its Python in RIVAL_PYTHON.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import smexec.images
import smexec.testing
from smexec.testing import LocalService

CONFIG = "SchemaVersion: '1.0'\nSageMaker: {PythonSDK: {Modules: {TelemetryOptOut: true}}}\n"
# Two lines through these points cross: with three rows the last does not count.
ABALONE = "length,rings\n0.25,6\n0.50,11\n0.75,16\n1.00,3\n"
PYTHON = Path(os.environ["RIVAL_PYTHON"])


@pytest.fixture(scope="module")
def service() -> Iterator[LocalService]:
    """Jobs inherit the service's PATH: their `python` is the one that has the SDK."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{PYTHON.parent}{os.pathsep}{os.environ['PATH']}")
        with smexec.testing.local_service() as service:
            yield service


@pytest.mark.timeout(400)  # it sleeps between polls, and installs itself in every job
def test_functions(service: LocalService, tmp_path: Path) -> None:
    results, said = run_client("functions.py", service, tmp_path)
    assert results == {
        "submit": 49,
        "map": [1, 4],
        "remote": 1.5,
        "error": "ZeroDivisionError: division by zero",
    }
    assert "dividing 3 by 2" in said  # it streams the job's log from CloudWatch
    summaries = service.client("sagemaker").list_training_jobs()["TrainingJobSummaries"]
    statuses = sorted(summary["TrainingJobStatus"] for summary in summaries)
    assert statuses == ["Completed"] * 4 + ["Failed"]


@pytest.mark.timeout(400)
@pytest.mark.skipif(not shutil.which("Rscript"), reason="there is no R here")
def test_scripts_in_r(service: LocalService, tmp_path: Path) -> None:
    smexec.images.init("r", tmp_path / "image")
    service.configure(image={"r:local": str(tmp_path / "image")})
    s3 = service.client("s3")
    s3.put_object(Bucket=service.bucket, Key="abalone/abalone.csv", Body=ABALONE.encode())
    results, said = run_client(
        "scripts.py", service, tmp_path, DATA=f"s3://{service.bucket}/abalone/abalone.csv"
    )
    assert results["prediction"]["rings"] == pytest.approx(11)
    assert "rmse=0.000;" in said
    job = service.client("sagemaker").describe_training_job(TrainingJobName=results["job"])
    assert [(one["MetricName"], one["Value"]) for one in job["FinalMetricDataList"]] == [("rmse", 0.0)]
    key = results["report"].removeprefix(f"s3://{service.bucket}/") + "/report.txt"
    report = s3.get_object(Bucket=service.bucket, Key=key)["Body"].read()
    assert report.decode().split() == ["--year", "2026", "4"]
    assert service.client("sagemaker").list_models()["Models"] == []


def run_client(name: str, service: LocalService, directory: Path, **variables: str) -> tuple[Any, str]:
    """What the client prints last, as JSON, and all that it says."""
    config = directory / "config.yaml"
    config.write_text(CONFIG, encoding="utf-8")
    environment = {
        **os.environ,
        **service.environment,
        **variables,
        "BUCKET": service.bucket,
        "TMPDIR": str(directory),  # where it leaves things
        "SAGEMAKER_USER_CONFIG_OVERRIDE": str(config),
    }
    run = subprocess.run(
        [str(PYTHON), str(Path(__file__).with_name(name))],
        env=environment,
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )
    said = run.stdout + run.stderr
    assert run.returncode == 0, said
    return json.loads(run.stdout.splitlines()[-1]), said
