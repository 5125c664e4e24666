"""Objects: written, read, listed. Addresses are ``s3://bucket/key`` throughout."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, BinaryIO

from smexec.aws import multipart
from smexec.aws.border import NotFound
from smexec.aws.client import Client
from smexec.aws.multipart import Follow
from smexec.aws.pieces import Content, pieces, size
from smexec.errors import InvalidRequest
from smexec.worker.parts import SIZES, Sizes
from smexec.worker.protocol import Buffer

PAGE = 400  # names: to parse 1,000, the most there can be, would keep the loop busy for a tenth of a second


def split(uri: str) -> tuple[str, str]:
    """Bucket and key."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


async def put(
    aws: Client,
    uri: str,
    content: Content,
    kms_key: str | None = None,
    new: bool = False,
    sizes: Sizes = SIZES,
) -> None:
    """Write an object.

    :param new: only if there is none (a conditional write): for objects named by their content
    :raises ScriptError: the bytes of a file are not those that it is known by
    """
    where = _where(uri)
    extra: dict[str, Any] = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": kms_key} if kms_key else {}
    try:
        if size(content) < sizes.large:
            condition: dict[str, Any] = {"IfNoneMatch": "*"} if new else {}
            whole = b"".join([view async for piece in pieces(content, sizes.large) for view in piece])
            await aws.call("s3", "PutObject", **where, **extra, **condition, Body=whole)
        elif not (new and await multipart.size_of(aws, where) == size(content)):
            await multipart.upload(aws, where, content, extra, sizes.part, new)
    except InvalidRequest as error:
        if not (new and error.code == "PreconditionFailed"):
            raise


async def get(aws: Client, uri: str, sizes: Sizes = SIZES, follow: Follow | None = None) -> Buffer | None:
    """An object's bytes, in memory that may be written to; None if there is no such object.

    :param follow: told how many of a large one's bytes have come, while others are on their way
    """
    try:
        return await multipart.download(aws, _where(uri), sizes.part, follow)
    except NotFound:
        return None


async def save(aws: Client, uri: str, file: BinaryIO, sizes: Sizes = SIZES) -> bool:
    """Write an object's bytes to a file, few of them at a time; False if there is no such object."""
    try:
        await multipart.save(aws, _where(uri), file, sizes.part)
    except NotFound:
        return False
    return True


def _where(uri: str) -> dict[str, Any]:
    bucket, key = split(uri)
    return {"Bucket": bucket, "Key": key}


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


async def is_there(aws: Client, uri: str) -> bool:
    """Whether there is an object of this address, or one below it."""
    bucket, prefix = split(uri)
    page = await aws.call("s3", "ListObjectsV2", Bucket=bucket, Prefix=prefix, MaxKeys=1)
    return bool(page.get("Contents"))


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
