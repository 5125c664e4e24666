"""What a user of the SageMaker SDK writes. Run by the SDK's own Python; prints its results as JSON."""

from __future__ import annotations

import json
import os

import sagemaker
from sagemaker.remote_function import RemoteExecutor, remote

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


def error_of(x: float, y: float) -> str:
    try:
        divide(x, y)
    except ZeroDivisionError as error:
        return f"{type(error).__name__}: {error}"
    return "no error"


if __name__ == "__main__":
    with RemoteExecutor(max_parallel_jobs=2, **SETTINGS) as executor:
        future = executor.submit(square, 7)
        squares = executor.map(square, [1, 2])
        results = {"submit": future.result(), "map": squares}
    results["remote"] = divide(3, 2)
    results["error"] = error_of(1, 0)
    print(json.dumps(results))
