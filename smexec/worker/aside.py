"""What is too large for a slot's link is put aside: in memory that another process can map, or in a file."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import NamedTuple, Optional, Sequence

from .container import free_memory
from .parts import SIZES, length

LEAST = 1 << 20  # bytes: less goes through the link
LARGE = SIZES.large  # bytes from which memory is worth a descriptor, of which a process has few


class Aside(NamedTuple):
    """Where the bytes are: one of the two says it.

    :ivar descriptor: of memory, which lasts as long as anybody has it open or mapped
    :ivar file: its path
    """

    descriptor: Optional[int]
    file: Optional[str]


def put(views: Sequence[memoryview], file: Path, slots: int) -> Optional[Aside]:
    """Put the views aside, one after the other; None if they are small, or there is no room at all.

    A file of the same bytes may take ten times as long, and slow down what else needs the disk.

    :param file: where no memory is to be had
    :param slots: how many may do the same at this moment
    """
    size = length(views)
    if size < LEAST:
        return None
    if size >= LARGE and 2 * size * slots <= free_memory():
        descriptor = _in_memory(views)
        if descriptor is not None:
            return Aside(descriptor, None)
    return Aside(None, str(file)) if _in_file(views, file) else None


def _in_memory(views: Sequence[memoryview]) -> Optional[int]:
    try:
        descriptor = os.memfd_create("smexec-outcome")
    except (AttributeError, OSError):  # not Linux, or too many are open
        return None
    try:
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.writelines(views)
    except OSError:  # less is free than seemed
        os.close(descriptor)
        return None
    return descriptor


def _in_file(views: Sequence[memoryview], path: Path) -> bool:
    try:
        with path.open("wb") as file:
            file.writelines(views)
    except OSError as error:  # a full disk
        sys.stderr.write("smexec: {} cannot be written: {}\n".format(path, error))
        with contextlib.suppress(OSError):
            path.unlink()
        return False
    return True
