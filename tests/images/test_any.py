"""The image for any language: programs of every kind run as the local service's processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from smexec.capture.sources import pack

TOUCH = '#!/bin/sh\n. ./helper.sh\nhelp "$@" > /opt/ml/processing/output/out/said\n'


@pytest.fixture(scope="module")
def language() -> str:
    return "any"


@pytest.mark.parametrize("name", ["said.sh", "/opt/ml/processing/input/code/said.sh"])
def test_a_program_that_was_handed_in_finds_its_neighbours(bench: Any, name: str) -> None:
    bench.put("said/helper.sh", 'help() { echo "$@"; }\n')
    code = bench.put("said/said.sh", TOUCH).removesuffix("/said.sh")
    job, out = bench.process({"ContainerArguments": [name, "a b", "c"]}, code)
    assert job["ProcessingJobStatus"] == "Completed"
    assert bench.text(f"{out}/said") == "a b c\n"


def test_another_command_is_the_image_s(bench: Any) -> None:
    code = bench.put("none/readme.txt", "")
    command = {"ContainerArguments": ["sh", "-c", "echo yes > /opt/ml/processing/output/out/said"]}
    job, out = bench.process(command, code)
    assert job["ProcessingJobStatus"] == "Completed"
    assert bench.text(f"{out}/said") == "yes\n"


def test_without_a_command_nothing_runs(bench: Any) -> None:
    job, _ = bench.process({}, bench.put("none/readme.txt", ""))
    assert job["ProcessingJobStatus"] == "Failed"


@pytest.mark.parametrize(
    ("hyperparameters", "said"),
    [
        ({"sagemaker_program": "readme.txt"}, "readme.txt cannot be executed"),
        ({"sagemaker_submit_directory": "s3://nowhere/x"}, "cannot fetch s3://nowhere/x"),
    ],
)
def test_why_a_training_cannot_begin_is_told(
    bench: Any, tmp_path: Path, hyperparameters: dict[str, str], said: str
) -> None:
    (tmp_path / "readme.txt").write_text("")
    source = pack("readme.txt", tmp_path).content
    bench.s3.put_object(Bucket=bench.service.bucket, Key="dull/sourcedir.tar.gz", Body=source)
    uri = f"s3://{bench.service.bucket}/dull/sourcedir.tar.gz"
    given = {"sagemaker_submit_directory": uri, "sagemaker_program": "x", **hyperparameters}
    assert said in bench.train(bench.put("dull/data", ""), given)["FailureReason"]
