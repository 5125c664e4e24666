"""Bytes that lie in files: they are used where they lie."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import NamedTuple, Optional


class Extent(NamedTuple):
    """A file's bytes from ``start`` to ``stop``, or to its end."""

    path: Path
    start: int = 0
    stop: Optional[int] = None

    def mapped(self) -> memoryview:
        """They as memory of which only what is written to is a copy."""
        if not self.path.stat().st_size:  # which cannot be mapped
            return memoryview(bytearray())
        with self.path.open("rb") as file:
            whole = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
        return whole[self.start : self.stop]
