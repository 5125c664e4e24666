"""The Python image: its scripts run as the local service's processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from botocore.exceptions import ClientError

from smexec import SageMakerExecutor, Script, errors
from smexec.capture.sources import pack

ROWS = "length,rings\n0.5,9\n0.4,7\n0.6,11\n"

TYPES = """
import json, os, sys
found = {"argv": sys.argv[1:], "hyperparameters": json.loads(os.environ["SM_HPS"])}
open(os.path.join(os.environ["SM_MODEL_DIR"], "found.json"), "w").write(json.dumps(found))
"""
FAIL = """
def learn(rounds):
    raise ValueError(f"too many rounds: {rounds}")

learn(9)
"""
EXIT = """
import json, os, sys
open(os.path.join(os.environ["SM_MODEL_DIR"], "model"), "w").close()
sys.exit(json.loads(os.environ["SM_HPS"])["code"])
"""
PROCESSING_EXIT = """
import sys
sys.exit(int(sys.argv[1]) if sys.argv[1].isdigit() else sys.argv[1])
"""
NPY = """
def predict_fn(data, model):
    return [str(data.dtype), data.tolist()]
"""
HALF = """
import argparse, os, pathlib, time
parser = argparse.ArgumentParser()
parser.add_argument("--up")
model = pathlib.Path(os.environ["SM_MODEL_DIR"])

def endless():
    while True:
        time.sleep(0.1)

try:
    pathlib.Path(parser.parse_args().up).write_text("up")
    endless()  # Python 3.13 does not catch what falls on a loop's jump back by a try around the loop
except KeyboardInterrupt:
    (model / "half").touch()
"""


@pytest.fixture(scope="module")
def language() -> str:
    return "python"


def script(directory: Path, text: str) -> Script:
    (directory / "program.py").write_text(text)
    return Script("program.py", source_dir=directory)


def test_hyperparameters_are_arguments_as_in_sagemaker_s_own_images(
    bench: Any, executor: SageMakerExecutor, tmp_path: Path
) -> None:
    """By name, as the training toolkit has them."""
    values = {"rounds": 100, "formula": 'a "b"', "fast": True, "grid": [1, "a"], "C": 1.0, "none": None}
    result = executor.submit(script(tmp_path, TYPES), {**values, "map": {"b": 2, "a": False}}).result(60)
    found = json.loads(bench.unpacked(result.model)["found.json"])
    assert found["hyperparameters"] == {**values, "map": {"b": 2, "a": False}}
    arguments = ["-C", "1.0", "--fast", "True", "--formula", 'a "b"', "--grid", "[1, 'a']"]
    assert found["argv"] == [*arguments, "--map", "a=False,b=2", "--none", "", "--rounds", "100"]


def test_code_goes_with_the_model_of_a_script_that_exits(
    bench: Any, executor: SageMakerExecutor, tmp_path: Path
) -> None:
    (tmp_path / "deploy.py").write_text("predict_fn = max\n")
    exiting = script(tmp_path, EXIT)
    for code in (None, 0):
        result = executor.submit(exiting, code=code).result(60)
        assert set(bench.unpacked(result.model)) == {"model", "code/program.py", "code/deploy.py"}


@pytest.mark.parametrize(("code", "said"), [(3, ", exit code: 3"), ("no rows", "no rows, exit code: 1")])
def test_what_a_script_exits_with_is_told(
    executor: SageMakerExecutor, tmp_path: Path, code: int | str, said: str
) -> None:
    error = executor.submit(script(tmp_path, EXIT), code=code).exception(60)
    assert type(error) is errors.JobFailed
    assert error.failure_reason == f"AlgorithmError: {said}"
    assert list(error.log_tail) == ([code] if isinstance(code, str) else [])


@pytest.mark.parametrize(("argument", "code", "told"), [("7", 7, None), ("no year", 1, "no year")])
def test_what_a_processing_exits_with_is_told(bench: Any, argument: str, code: int, told: str | None) -> None:
    source = bench.put("exiting/exit.py", PROCESSING_EXIT)
    job, _ = bench.process({"ContainerArguments": ["exit.py", argument]}, source)
    assert job["ProcessingJobStatus"] == "Failed"
    assert job["FailureReason"].endswith(f"exit code: {code}")
    assert job.get("ExitMessage") == told


def test_an_error_is_told_with_the_script_s_own_traceback(
    executor: SageMakerExecutor, tmp_path: Path
) -> None:
    error = executor.submit(script(tmp_path, FAIL)).exception(60)
    assert type(error) is errors.JobFailed
    said = str(error.failure_reason).splitlines()
    assert said[0] == "AlgorithmError: ValueError: too many rounds: 9"
    assert [line.split(", ")[1:] for line in said if "File" in line] == [
        ["line 5", "in <module>"],
        ["line 3", "in learn"],
    ]


def test_a_training_that_is_stopped_keeps_its_model(
    bench: Any, executor: SageMakerExecutor, tmp_path: Path
) -> None:
    up = tmp_path / "up"
    os.mkfifo(up)
    future = executor.submit(script(tmp_path, HALF), up=str(up))
    assert up.read_text() == "up"
    while not future.running():
        threading.Event().wait(0.05)
    future.stop()
    error = future.exception(60)
    assert type(error) is errors.JobStopped
    assert set(bench.unpacked(error.model)) == {"half"}


def test_code_is_fetched_where_it_comes_by_no_channel(
    bench: Any, directory: Path, serve: Callable[[str], Any]
) -> None:
    source = pack("train.py", directory / "code").content
    bench.s3.put_object(Bucket=bench.service.bucket, Key="fetched/sourcedir.tar.gz", Body=source)
    uri = f"s3://{bench.service.bucket}/fetched/sourcedir.tar.gz"
    own = {"sagemaker_submit_directory": uri, "sagemaker_program": "train.py", "rounds": 3}
    job = bench.train(bench.put("rows/rows.csv", ROWS), own)
    assert job["TrainingJobStatus"] == "Completed", job["FailureReason"]
    endpoint = serve(job["ModelArtifacts"]["S3ModelArtifacts"])
    as_json = json.loads(endpoint.predict("[[0.5], [0.6]]"))
    assert len(as_json["output"]) == 2
    assert json.loads(endpoint.predict("0.5\n0.6\n", "text/csv")) == as_json
    with pytest.raises(ClientError) as caught:
        endpoint.predict("[[0.5, 1]]")
    answer: Any = caught.value.response
    assert (answer["OriginalStatusCode"], answer["OriginalMessage"]) == (
        500,
        "ValueError: rows must have 1 columns",
    )
    with pytest.raises(ClientError) as caught:
        endpoint.predict("[[")
    assert caught.value.response["OriginalStatusCode"] == 400  # type: ignore[typeddict-item]
    with pytest.raises(ClientError) as caught:
        endpoint.predict("<a/>", "text/xml")
    refused: Any = caught.value.response
    assert refused["OriginalStatusCode"] == 415
    assert refused["OriginalMessage"].endswith("not text/xml")


def test_arrays_are_read_where_numpy_is_there(executor: SageMakerExecutor, tmp_path: Path) -> None:
    (tmp_path / "deploy.py").write_text(NPY)
    trained = executor.submit(script(tmp_path, EXIT), code=0).result(60)
    with trained.deploy(instance_type="ml.t2.medium") as endpoint:
        assert endpoint.predict(np.array([[1.5, 2]])) == ["float64", [[1.5, 2.0]]]
        with pytest.raises(errors.ModelError, match="answered 400"):
            endpoint.predict(b"", content_type="npy")


@pytest.mark.parametrize("has_numpy", [True, False])
def test_an_image_without_numpy_says_what_it_reads(directory: Path, has_numpy: bool) -> None:
    command = [
        sys.executable,
        *([] if has_numpy else ["-S"]),
        "-c",
        "import entrypoint; print(*entrypoint.READERS)",
    ]
    read = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=True).stdout.split()
    assert read == ["application/json", "text/csv", *(["application/x-npy"] if has_numpy else [])]
