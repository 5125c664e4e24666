"""A build in CodeBuild, and what becomes of its image."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import smexec.images
from smexec.errors import BuildFailed
from smexec.images import Image
from smexec.testing import LocalService

PROGRAM = """\
#!/bin/sh
cat /etc/built > /opt/ml/model/built
"""


@pytest.fixture
def directory(tmp_path: Path, base: str) -> Path:
    (tmp_path / "program").write_text(PROGRAM)
    (tmp_path / "program").chmod(0o755)
    lines = [
        "ARG BASE",
        "FROM $BASE",
        "ARG WORD",
        'RUN echo "$WORD" > /etc/built',
        "COPY program /program",
        'ENTRYPOINT ["/program"]',
    ]
    (tmp_path / "Dockerfile").write_text("\n".join(lines))
    return tmp_path


@pytest.fixture
def build(directory: Path, base: str) -> Iterator[Callable[[], Image]]:
    """Builds an image; it goes with the test."""
    flags = ["--build-arg", f"BASE={base}", "--build-arg", 'WORD=it\'s "quoted" $HOME']
    repository = f"smexec-test/codebuild:{os.getpid()}"
    built: list[Image] = []

    def build() -> Image:
        building = smexec.images.build(directory, repository=repository, using="codebuild", flags=flags)
        built.append(building.result())
        return built[-1]

    yield build
    for image in built:
        subprocess.run(["podman", "rmi", "--force", image.uri], check=True, capture_output=True)


def test_an_image_is_built_pushed_and_trained_with(service: LocalService, build: Callable[[], Image]) -> None:
    image = build()
    (pushed,) = service.client("ecr").describe_images(repositoryName="smexec-test/codebuild")["imageDetails"]
    assert pushed["imageDigest"] == image.digest
    service.client("sagemaker").create_training_job(
        TrainingJobName="built",
        AlgorithmSpecification={"TrainingImage": image.uri, "TrainingInputMode": "File"},
        RoleArn=service.role,
        OutputDataConfig={"S3OutputPath": f"s3://{service.bucket}/out", "CompressionType": "NONE"},
        ResourceConfig={"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
        StoppingCondition={"MaxRuntimeInSeconds": 3600},
    )
    summary = service.wait("built")
    assert summary["TrainingJobStatus"] == "Completed"
    model = service.client("s3").get_object(Bucket=service.bucket, Key="out/built/output/model/built")
    assert model["Body"].read() == b'it\'s "quoted" $HOME\n'


def test_a_step_that_fails_is_named(
    service: LocalService, directory: Path, build: Callable[[], Image]
) -> None:
    with (directory / "Dockerfile").open("a") as file:
        file.write("\nRUN exit 3")
    with pytest.raises(BuildFailed, match=r"failed at step 6/6: RUN exit 3 \(exit code 3\)"):
        build()
    assert service.client("codebuild").list_projects()["projects"] == []
