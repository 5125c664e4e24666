"""Large objects: in parts, several at a time, from and to the memory that they stay in."""

from __future__ import annotations

import asyncio
import functools
import io
import itertools
import logging
import mmap
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, BinaryIO, TypeAlias, cast

import anyio

from smexec.aws.border import NotFound
from smexec.aws.client import Client
from smexec.aws.pieces import Content, pieces, size
from smexec.aws.together import together
from smexec.errors import AccessDenied, InvalidRequest, ServiceError
from smexec.worker import parts
from smexec.worker.protocol import Buffer

_CHUNK = 1 << 16  # bytes that a socket takes at once: what is left would be copied
_ABORT_PATIENCE = 30.0  # seconds

Where: TypeAlias = Mapping[str, Any]  # Bucket and Key
Follow: TypeAlias = Callable[[Buffer, int], None]  # memory that is being filled, and how far it is

_log = logging.getLogger("smexec")


class Body:
    """Views one after the other as a request's body, never joined.

    botocore takes it for a file, to hash it; aiohttp iterates over it, from the beginning at each try. Were
    it one of :mod:`io`'s, aiohttp would read it on a thread, 64 KiB at a time.
    """

    def __init__(self, views: Sequence[memoryview]) -> None:
        self._views = views
        self._size = parts.length(views)
        self._position = 0

    def tell(self) -> int:
        """Where the next :meth:`read` begins."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move, as in any file."""
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = origin + offset
        return self._position

    def read(self, size: int = -1) -> bytes | memoryview:
        """At most that many bytes, as a view where they lie in one; all the rest unless told."""
        content = self._bytes(self._position, self._size if size < 0 else size)
        self._position += len(content)
        return content

    async def __aiter__(self) -> AsyncIterator[bytes | memoryview]:
        for start in range(0, self._size, _CHUNK):
            yield self._bytes(start, _CHUNK)

    def _bytes(self, start: int, size: int) -> bytes | memoryview:
        pieces = []
        for view in self._views:
            piece = view[start : start + size]
            start, size = max(0, start - view.nbytes), size - piece.nbytes
            if piece.nbytes:
                pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


# -- out -----------------------------------------------------------------------------------------------------


async def upload(
    aws: Client, where: Where, content: Content, extra: Mapping[str, Any], part: int, new: bool
) -> None:
    """Write an object in parts; of one that fails, nothing is left.

    :param extra: how it is to be encrypted
    :param part: bytes of each, at least
    :param new: only if there is none
    :raises InvalidRequest: with the code ``PreconditionFailed``: there is one
    """
    total = size(content)
    created = await aws.call("s3", "CreateMultipartUpload", **where, **extra, ChecksumAlgorithm="CRC32")
    target: dict[str, Any] = {**where, "UploadId": created["UploadId"]}
    try:
        sent = await _send(aws, target, pieces(content, parts.part_size(total, part)))
        await _complete(aws, target, sent, total, {"IfNoneMatch": "*"} if new else {})
    except BaseException:
        await _abort(aws, target)
        raise


async def _send(aws: Client, target: Where, whole: AsyncIterator[list[memoryview]]) -> list[dict[str, Any]]:
    sent: list[dict[str, Any]] = []
    numbers, in_order = itertools.count(1), anyio.Lock()

    async def send_next() -> bool:
        async with in_order:
            views, number = await anext(whole, None), next(numbers)
        if views is None:
            return False
        checksum = await asyncio.to_thread(parts.checksum, views)
        part: dict[str, Any] = {"PartNumber": number, "ChecksumCRC32": checksum}
        answer = await aws.call("s3", "UploadPart", **target, **part, Body=Body(views))
        sent.append({**part, "ETag": answer["ETag"]})
        return True

    async def send_until_the_end() -> None:
        while await send_next():
            pass

    await together([send_until_the_end] * parts.AT_A_TIME, parts.AT_A_TIME)
    return sorted(sent, key=lambda one: int(one["PartNumber"]))


async def _complete(
    aws: Client, target: Where, sent: list[dict[str, Any]], total: int, condition: Mapping[str, Any]
) -> None:
    parts_sent = {"Parts": sent}
    try:
        await aws.call("s3", "CompleteMultipartUpload", **target, **condition, MultipartUpload=parts_sent)
    except ServiceError as error:
        # That its answer was lost is one way in which an upload is there no more.
        if error.code != "NoSuchUpload" or await size_of(aws, target) != total:
            raise


async def _abort(aws: Client, target: Where) -> None:
    """Parts that are left behind would be paid for, and no listing of objects shows them."""
    with anyio.CancelScope(shield=True):
        try:
            await aws.call("s3", "AbortMultipartUpload", patience=_ABORT_PATIENCE, **target)
        except ServiceError as error:
            _log.warning("what there is of s3://%s/%s stays: %s", target["Bucket"], target["Key"], error)


async def size_of(aws: Client, where: Where) -> int | None:
    """Bytes of an object; None if there is no such object, or we may not know."""
    try:
        answer = await aws.call("s3", "HeadObject", Bucket=where["Bucket"], Key=where["Key"])
    except (NotFound, AccessDenied):
        return None
    return int(answer["ContentLength"])


# -- in ------------------------------------------------------------------------------------------------------


async def download(aws: Client, where: Where, part: int, follow: Follow | None = None) -> Buffer:
    """Read an object, in one request if it has no more bytes than ``part``.

    :param follow: called on threads, of what has more
    :returns: memory that may be written to
    :raises NotFound: there is no such object
    """
    beginning, total, same = await _begin(aws, where, part)
    if total == len(beginning):
        return beginning
    whole = _room(total)
    await _fill(aws, same, whole, beginning, part, follow)
    return whole


async def save(aws: Client, where: Where, file: BinaryIO, part: int) -> None:
    """Write an object to a file, a part after the other: what is too large for the memory.

    :raises NotFound: there is no such object
    """
    body, total, same = await _begin(aws, where, part)
    await asyncio.to_thread(file.write, body)
    for start, stop in parts.spans(len(body), total, part):
        body = await _read(aws, same, start, stop)
        await asyncio.to_thread(file.write, body)


async def _begin(aws: Client, where: Where, part: int) -> tuple[bytearray, int, Where]:
    """The first bytes of an object, how many there are in all, and where the rest of the same lies.

    With its ETag, that is: else pieces of different objects might be put together.
    """
    try:
        first = await aws.call("s3", "GetObject", **where, Range=f"bytes=0-{part - 1}")
    except InvalidRequest as error:
        if error.code != "InvalidRange":
            raise
        return bytearray(), 0, where  # it has not even a first byte
    body = cast("bytearray", first["Body"])
    total = int(first["ContentRange"].rpartition("/")[2]) if "ContentRange" in first else len(body)
    return body, total, {**where, "IfMatch": first["ETag"]}


async def _read(aws: Client, where: Where, start: int, stop: int) -> bytearray:
    answer = await aws.call("s3", "GetObject", **where, Range=f"bytes={start}-{stop - 1}")
    return cast("bytearray", answer["Body"])


async def _fill(
    aws: Client, where: Where, whole: memoryview, beginning: bytearray, part: int, follow: Follow | None
) -> None:
    here = len(beginning)
    whole[:here] = beginning
    beginning.clear()
    followed = _Followed(whole, here, follow) if follow else None

    async def fetch(start: int, stop: int) -> None:
        whole[start:stop] = await _read(aws, where, start, stop)
        if followed:
            await followed.came(start, stop)

    rest = parts.spans(here, whole.nbytes, part)
    await together((functools.partial(fetch, *span) for span in rest), parts.AT_A_TIME)


class _Followed:
    """Memory that is filled in pieces, in any order, and somebody who goes through it from its beginning."""

    def __init__(self, whole: memoryview, here: int, follow: Follow) -> None:
        self._whole = whole
        self._follow = follow
        self._ahead = {0: here}  # what nobody has gone through: from, to
        self._reached = 0
        self._is_going = False

    async def came(self, start: int, stop: int) -> None:
        """One more piece. Returns at once, unless this lets him go on who follows."""
        self._ahead[start] = stop
        if self._is_going:
            return
        self._is_going = True
        try:
            while self._reached in self._ahead:
                self._reached = self._ahead.pop(self._reached)
                await asyncio.to_thread(self._follow, self._whole, self._reached)
        finally:
            self._is_going = False


def _room(size: int) -> memoryview:
    """Memory that takes no time: the loop would stand still while a bytearray is filled with zeros."""
    private = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if os.name == "posix" else {}
    return memoryview(mmap.mmap(-1, size, **private))
