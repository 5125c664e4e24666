from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from smexec.aws import s3
from smexec.aws.client import Client
from smexec.errors import AccessDenied, BucketNotFound, InvalidRequest
from smexec.testing import LocalService

Ask = Callable[..., Any]


@pytest.fixture
def root(smexec_service: LocalService, request: pytest.FixtureRequest) -> str:
    """A prefix of the test's own."""
    return f"s3://{smexec_service.bucket}/{request.node.name}"


def test_addresses() -> None:
    assert s3.split("s3://bucket/a/b") == ("bucket", "a/b")
    assert s3.split("s3://bucket") == ("bucket", "")


@pytest.mark.parametrize("key", ["plain", "a b+c/é?&=#%20", "//double/../dots", "日本/"])
def test_what_was_put_can_be_got(ask: Ask, root: str, key: str) -> None:
    ask(s3.put, f"{root}/{key}", [b"one ", bytearray(b"two"), memoryview(b"")])
    content = ask(s3.get, f"{root}/{key}")
    assert content == b"one two"
    content[0:3] = b"ONE"  # arrays that lie in it must be the user's to change


def test_an_empty_object(ask: Ask, root: str) -> None:
    ask(s3.put, f"{root}/empty", [])
    assert ask(s3.get, f"{root}/empty") == b""


def test_a_large_object(ask: Ask, root: str) -> None:
    content = bytes(range(256)) * 20_000
    ask(s3.put, f"{root}/large", [content])
    assert ask(s3.get, f"{root}/large") == content


def test_what_is_not_there(ask: Ask, root: str) -> None:
    assert ask(s3.get, f"{root}/nothing") is None
    with pytest.raises(BucketNotFound, match="Create the bucket"):
        ask(s3.get, "s3://no-such-bucket/x")
    with pytest.raises(BucketNotFound):
        ask(s3.put, "s3://no-such-bucket/x", [b""])


def test_encryption_is_asked_for(ask: Ask, root: str, smexec_service: LocalService) -> None:
    ask(s3.put, f"{root}/secret", [b"x"], "alias/ours")
    bucket, key = s3.split(f"{root}/secret")
    head = smexec_service.client("s3").head_object(Bucket=bucket, Key=key)
    assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == ("aws:kms", "alias/ours")


def test_a_new_object_is_written_once(ask: Ask, root: str) -> None:
    for content in (b"first", b"second"):
        ask(s3.put, f"{root}/layer", [content], new=True)
    assert ask(s3.get, f"{root}/layer") == b"first"


def test_an_object_that_is_not_new_is_written_again(ask: Ask, root: str) -> None:
    for content in (b"first", b"second"):
        ask(s3.put, f"{root}/object", [content])
    assert ask(s3.get, f"{root}/object") == b"second"


def test_two_who_write_the_same_at_once(ask: Ask, root: str, smexec_service: LocalService) -> None:
    smexec_service.fault("PutObject", "error", code="ConditionalRequestConflict", status=409)
    ask(s3.put, f"{root}/layer", [b"content"], new=True)
    assert ask(s3.get, f"{root}/layer") == b"content"


def test_a_new_object_that_is_refused_is_refused(ask: Ask, root: str, smexec_service: LocalService) -> None:
    smexec_service.fault("PutObject", "denied")
    with pytest.raises(AccessDenied):
        ask(s3.put, f"{root}/layer", [b"content"], new=True)
    smexec_service.fault("PutObject", "error", code="PreconditionFailed", status=412)
    with pytest.raises(InvalidRequest):
        ask(s3.put, f"{root}/layer", [b"content"])


# -- listing -------------------------------------------------------------------------------------------------


async def pages(aws: Client, folder: str, start_after: str, size: int) -> list[list[str]]:
    client = await aws._client("s3")
    client.meta.events.register(
        "provide-client-params.s3.ListObjectsV2", lambda params, **_: {**params, "MaxKeys": size}
    )
    return [names async for names in s3.names(aws, folder, start_after)]


@pytest.fixture
def folder(ask: Ask, root: str) -> str:
    for name in ("a", "b c", "d/e", "é", "zz"):
        ask(s3.put, f"{root}/{name}", [b""])
    ask(s3.put, f"{root}-another", [b""])
    return f"{root}/"


def test_names_come_in_pages(ask: Ask, folder: str) -> None:
    assert ask(pages, folder, "", 2) == [["a", "b c"], ["d/e", "zz"], ["é"]]
    assert ask(pages, folder, "", 1000) == [["a", "b c", "d/e", "zz", "é"]]


def test_names_begin_after_a_name(ask: Ask, folder: str) -> None:
    assert ask(pages, folder, "b c", 2) == [["d/e", "zz"], ["é"]]
    assert ask(pages, folder, "zzz", 2) == [["é"]]
    assert ask(pages, folder, "éé", 2) == [[]]


def test_an_empty_folder(ask: Ask, root: str) -> None:
    assert ask(pages, f"{root}/", "", 2) == [[]]


def test_a_page_that_is_lost_is_asked_for_again(ask: Ask, folder: str, smexec_service: LocalService) -> None:
    smexec_service.fault("ListObjectsV2", "drop", skip=1)
    smexec_service.fault("ListObjectsV2", "throttle", skip=1)
    assert ask(pages, folder, "", 2) == [["a", "b c"], ["d/e", "zz"], ["é"]]


# -- the default bucket --------------------------------------------------------------------------------------


@pytest.mark.parametrize("region", ["us-east-1", "eu-west-1"])
def test_a_bucket_is_created_where_the_jobs_run(
    ask: Ask, smexec_service: LocalService, monkeypatch: pytest.MonkeyPatch, region: str
) -> None:
    monkeypatch.setenv("AWS_REGION", region)
    monkeypatch.setenv("AWS_DEFAULT_REGION", region)
    smexec_service.reset_requests()
    for _ in range(2):
        ask(s3.ensure_bucket, f"sagemaker-{region}-42", session=None)
    assert smexec_service.requests()["s3.CreateBucket"] == 1
    place = smexec_service.client("s3").get_bucket_location(Bucket=f"sagemaker-{region}-42")
    assert (place["LocationConstraint"] or "us-east-1") == region


@pytest.mark.parametrize("region", ["us-east-1", "eu-west-1"])
def test_somebody_may_be_faster(
    ask: Ask, smexec_service: LocalService, monkeypatch: pytest.MonkeyPatch, region: str
) -> None:
    monkeypatch.setenv("AWS_REGION", region)
    monkeypatch.setenv("AWS_DEFAULT_REGION", region)
    ask(s3.ensure_bucket, f"sagemaker-{region}-43", session=None)
    smexec_service.fault("HeadBucket", "error", code="404", status=404)
    ask(s3.ensure_bucket, f"sagemaker-{region}-43", session=None)
    smexec_service.fault("HeadBucket", "error", code="404", status=404)
    smexec_service.fault("CreateBucket", "error", code="OperationAborted", status=409)
    ask(s3.ensure_bucket, f"sagemaker-{region}-43", session=None)


def test_a_bucket_of_somebody_else(ask: Ask, smexec_service: LocalService) -> None:
    smexec_service.fault("HeadBucket", "error", code="403", status=403)
    with pytest.raises(AccessDenied):
        ask(s3.ensure_bucket, smexec_service.bucket)
    smexec_service.fault("HeadBucket", "error", code="404", status=404)
    smexec_service.fault("CreateBucket", "error", code="BucketAlreadyExists", status=409)
    with pytest.raises(InvalidRequest):
        ask(s3.ensure_bucket, "taken")
