"""What a model is made of, as CreateModel says it."""

from __future__ import annotations

from typing import Any

import pytest

from smexec.local.serving import data_url, model_problems

ROLE = {"ExecutionRoleArn": "arn:aws:iam::123456789012:role/x"}


def container(uri: str, kind: str, compression: str) -> dict[str, Any]:
    source = {"S3Uri": uri, "S3DataType": kind, "CompressionType": compression}
    return {"Image": "image", "ModelDataSource": {"S3DataSource": source}}


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ({"Image": "image"}, None),
        ({"Image": "image", "ModelDataUrl": "s3://bucket/model.tar.gz"}, "s3://bucket/model.tar.gz"),
        (container("s3://bucket/model/", "S3Prefix", "None"), "s3://bucket/model/"),
        (container("s3://bucket/model.tar.gz", "S3Object", "Gzip"), "s3://bucket/model.tar.gz"),
    ],
)
def test_a_model_is_an_archive_or_a_folder(given: dict[str, Any], url: str | None) -> None:
    assert data_url(given) == url
    assert not list(model_problems({"PrimaryContainer": given, **ROLE}))


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (container("s3://bucket/model", "S3Object", "None"), "S3Object and Gzip, or of S3Prefix and None"),
        (container("s3://bucket/model", "S3Prefix", "None"), "s3://bucket/model of an S3Prefix must end"),
    ],
)
def test_what_is_neither_is_refused(given: dict[str, Any], problem: str) -> None:
    (found,) = model_problems({"PrimaryContainer": given, **ROLE})
    assert problem in found
