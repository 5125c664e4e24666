"""Writing objects of any size: small ones in one request, large ones in parts, several at a time."""

from __future__ import annotations

import concurrent.futures
import re
import sys
from typing import Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple
from xml.sax import saxutils

from . import parts, s3
from .protocol import Buffer
from .s3 import Undeliverable

_XMLNS = "http://s3.amazonaws.com/doc/2006-03-01/"
_UPLOAD_ID = re.compile("<UploadId>([^<]+)</UploadId>")


class _Sent(NamedTuple):
    """A part that S3 has."""

    number: int
    etag: str
    checksum: str


def upload(
    uri: str,
    content: Iterable[Buffer],
    total: int,
    sse_kms_key: Optional[str] = None,
    tries: int = s3.TRIES,
    sizes: parts.Sizes = parts.SIZES,
) -> None:
    """Write one object, whose bytes are the buffers one after the other.

    :param content: its first parts are sent while later buffers are still to be made
    :param total: bytes of all
    :param tries: of each request
    :raises Undeliverable: with the last error's text
    """
    if total < sizes.large:
        s3.put(uri, list(content), sse_kms_key, tries)
        return
    query = _begin(uri, sse_kms_key, tries)
    try:
        sent = _send(uri, query, parts.split(content, parts.part_size(total, sizes.part)), tries)
        _complete(uri, query, sent, total, tries)
    except BaseException:
        _abort(uri, query)
        raise


def _begin(uri: str, sse_kms_key: Optional[str], tries: int) -> Dict[str, str]:
    headers = dict(s3.encryption(sse_kms_key), **{"x-amz-checksum-algorithm": "CRC32"})
    answer = s3.ask("POST", uri, {"uploads": ""}, headers=headers, tries=tries)
    found = _UPLOAD_ID.search(answer.body.decode())
    if not found:
        raise Undeliverable("POST {}: the answer names no upload".format(uri), may_pass=False)
    return {"uploadId": saxutils.unescape(found.group(1))}


def _send(uri: str, query: Dict[str, str], pieces: Iterable[List[memoryview]], tries: int) -> List[_Sent]:
    def send(part: Tuple[int, List[memoryview]]) -> _Sent:
        number, content = part
        checksum = parts.checksum(content)
        place = dict(query, partNumber=str(number))
        answer = s3.ask("PUT", uri, place, content, {s3.CHECKSUM: checksum}, tries)
        return _Sent(number, answer.headers["ETag"], checksum)

    # When one has failed, those that wait are given up and those under way waited for: an abort comes last.
    with concurrent.futures.ThreadPoolExecutor(parts.AT_A_TIME, "upload") as pool:
        return list(pool.map(send, enumerate(pieces, 1)))


def _complete(uri: str, query: Dict[str, str], sent: Sequence[_Sent], total: int, tries: int) -> None:
    listed = "".join(
        "<Part><PartNumber>{}</PartNumber><ETag>{}</ETag><ChecksumCRC32>{}</ChecksumCRC32></Part>".format(
            part.number, saxutils.escape(part.etag), part.checksum
        )
        for part in sent
    )
    document = '<CompleteMultipartUpload xmlns="{}">{}</CompleteMultipartUpload>'.format(_XMLNS, listed)
    try:
        s3.ask("POST", uri, query, [document.encode()], tries=tries)
    except Undeliverable as error:
        # That its answer was lost is one way in which an upload is there no more.
        if "NoSuchUpload" not in str(error) or not _is_there(uri, total):
            raise


def _is_there(uri: str, size: int) -> bool:
    try:
        return int(s3.ask("HEAD", uri).headers["Content-Length"]) == size
    except Undeliverable:
        return False


def _abort(uri: str, query: Dict[str, str]) -> None:
    """Parts that are left behind would be paid for, and no listing of objects shows them."""
    try:
        s3.ask("DELETE", uri, query)
    except Undeliverable as error:
        sys.stderr.write("smexec: what there is of an object stays: {}\n".format(error))
