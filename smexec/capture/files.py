"""Files here → what they are known by. What many calls have for an input is hashed once, and never held."""

from __future__ import annotations

import functools
import hashlib
import threading
import time
from pathlib import Path

from smexec.core.work import File

_CHUNK = 1 << 20
_KNOWN = 100_000  # files
_COARSE = 50_000_000  # nanoseconds: two changes within them may leave a file with the same times

_one_at_a_time = threading.Lock()  # calls on several threads have the same files


def known(path: Path) -> File:
    """A file as it is. One that has not been changed since it was asked for is not read again."""
    status = path.stat()
    marks = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    is_settled = time.time_ns() - status.st_mtime_ns > _COARSE
    with _one_at_a_time:
        return _remembered(str(path), marks) if is_settled else _hashed(str(path))


@functools.lru_cache(maxsize=_KNOWN)
def _remembered(path: str, marks: tuple[int, ...]) -> File:  # noqa: ARG001  # what changes when it does
    return _hashed(path)


def _hashed(path: str) -> File:
    digest, size, chunk = hashlib.sha256(), 0, memoryview(bytearray(_CHUNK))
    with Path(path).open("rb", buffering=0) as stream:
        while count := stream.readinto(chunk):
            digest.update(chunk[:count])
            size += count
    return File(path, size, digest.hexdigest())
