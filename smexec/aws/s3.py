"""Objects: written, read, listed. Addresses are ``s3://bucket/key`` throughout."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from smexec.aws.border import NotFound
from smexec.aws.client import Client
from smexec.errors import InvalidRequest
from smexec.worker.protocol import Buffer

PAGE = 400  # names: to parse 1,000, the most there can be, would keep the loop busy for a tenth of a second


def split(uri: str) -> tuple[str, str]:
    """Bucket and key."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


async def put(
    aws: Client, uri: str, parts: Sequence[Buffer], kms_key: str | None = None, new: bool = False
) -> None:
    """Write an object.

    :param new: only if there is none (a conditional write): for objects named by their content
    """
    bucket, key = split(uri)
    request: dict[str, Any] = {"Bucket": bucket, "Key": key, "Body": b"".join(parts)}
    if kms_key:
        request |= {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": kms_key}
    if new:
        request["IfNoneMatch"] = "*"
    try:
        await aws.call("s3", "PutObject", **request)
    except InvalidRequest as error:
        if not (new and error.code == "PreconditionFailed"):
            raise


async def get(aws: Client, uri: str) -> bytearray | None:
    """An object's bytes, in memory that may be written to; None if there is no such object."""
    bucket, key = split(uri)
    try:
        answer = await aws.call("s3", "GetObject", Bucket=bucket, Key=key)
    except NotFound:
        return None
    content: bytearray = answer["Body"]
    return content


async def names(aws: Client, folder: str, start_after: str) -> AsyncIterator[list[str]]:
    """The names below a folder that sort after ``start_after``, a page at a time."""
    bucket, prefix = split(folder)
    request: dict[str, Any] = {
        "Bucket": bucket,
        "Prefix": prefix,
        "StartAfter": prefix + start_after,
        "MaxKeys": PAGE,
    }
    while True:
        page = await aws.call("s3", "ListObjectsV2", **request)
        yield [entry["Key"].removeprefix(prefix) for entry in page.get("Contents", ())]
        if not page.get("IsTruncated"):
            return
        request["ContinuationToken"] = page["NextContinuationToken"]


async def ensure_bucket(aws: Client, bucket: str) -> None:
    """Create a bucket in the client's region unless it is there, as the SageMaker SDK does."""
    try:
        await aws.call("s3", "HeadBucket", Bucket=bucket)
    except NotFound:
        request: dict[str, Any] = {"Bucket": bucket}
        if aws.region != "us-east-1":  # which refuses to be named
            request["CreateBucketConfiguration"] = {"LocationConstraint": aws.region}
        try:
            await aws.call("s3", "CreateBucket", **request)
        except InvalidRequest as error:
            if error.code != "BucketAlreadyOwnedByYou":  # somebody was faster
                raise
