"""What a user of the SageMaker SDK writes. Run by the SDK's own Python; prints its results as JSON."""

from __future__ import annotations

import json
import os

import sagemaker
from sagemaker.remote_function import RemoteExecutor, remote
from sagemaker.remote_function.client import Future

SETTINGS = {
    # Account and default bucket are given: the SDK would look them up at a host that knows no other endpoint.
    "sagemaker_session": sagemaker.Session(default_bucket=os.environ["BUCKET"]),
    "role": os.environ["SMEXEC_ROLE"],
    "image_uri": "python:local",
    "s3_root_uri": f"s3://{os.environ['BUCKET']}/rival",
    "instance_type": "ml.m5.large",
    # In every job it installs itself anew; here it is there already, and there is no index to ask.
    "environment_variables": {"PIP_NO_INDEX": "1"},
}


@remote(**SETTINGS)
def divide(x: float, y: float) -> float:
    print(f"dividing {x} by {y}")
    return x / y


def square(x: int) -> int:
    return x * x


def invert(x: float) -> float:
    return 1 / x


def error_of(future: Future) -> str:
    try:
        return str(future.result())
    except ZeroDivisionError as error:
        return f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    # In flight together, since it looks only every ten seconds whether a job has ended.
    with RemoteExecutor(max_parallel_jobs=4, **SETTINGS) as executor:
        value, error = executor.submit(square, 7), executor.submit(invert, 0)
        squares = executor.map(square, [1, 2])
        results = {"submit": value.result(), "map": squares, "error": error_of(error)}
    results["remote"] = divide(3, 2)
    print(json.dumps(results))
