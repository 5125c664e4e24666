"""What is uploaded, piece after piece: memory as it lies, a file as it is read."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import TypeAlias

from smexec.core.work import File
from smexec.errors import ScriptError
from smexec.worker import parts
from smexec.worker.protocol import Buffer

Content: TypeAlias = Sequence[Buffer] | File  # buffers one after the other, or a file


def size(content: Content) -> int:
    """Bytes of all."""
    return content.size if isinstance(content, File) else parts.length(content)


async def pieces(content: Content, size: int) -> AsyncIterator[list[memoryview]]:
    """All bytes in their order.

    :param size: bytes of each piece but the last
    :raises ScriptError: after the last piece: the file's bytes are not those that it is known by
    """
    if isinstance(content, File):
        async for piece in _read(content, size):
            yield [memoryview(piece)]
    else:
        for views in parts.split(content, size):
            yield views


async def _read(file: File, size: int) -> AsyncIterator[bytes]:
    """What was added to its end meanwhile is not read."""
    digest = hashlib.sha256()

    def read(start: int, stop: int) -> bytes:
        with Path(file.path).open("rb") as stream:
            stream.seek(start)
            piece = stream.read(stop - start)
        digest.update(piece)
        return piece

    try:
        for span in parts.spans(0, file.size, size):
            yield await asyncio.to_thread(read, *span)
    except OSError as error:
        raise ScriptError(f"{file.path} cannot be read any more: {error.strerror}") from error
    if digest.hexdigest() != file.sha256:
        raise ScriptError(f"{file.path} was changed after it was submitted, and before it was uploaded")
