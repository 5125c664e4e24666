"""Which calls of a batch a job is to run: not all, where an earlier job of the same batch has run some.

It travels as a hyperparameter, sealed: the batch's name, and a bit for each call.
"""

from __future__ import annotations

import base64
from typing import Iterable, List, NamedTuple, Optional

from . import protocol


class Todo(NamedTuple):
    """:ivar batch: the job that the batch was uploaded for
    :ivar calls: their numbers; None: all
    """

    batch: str
    calls: Optional[List[int]] = None

    def of(self, count: int) -> List[int]:
        """The numbers of the calls to run, of a batch of so many."""
        return list(range(count)) if self.calls is None else self.calls


def write(key: bytes, job: str, batch: str, calls: Iterable[int]) -> str:
    """What :func:`read` gets in ``job``. For 10,000 calls it has 1,900 characters."""
    bits = sum(1 << number for number in set(calls))
    section = bits.to_bytes((bits.bit_length() + 7) // 8, "little")
    body = protocol.encode_body({"batch": batch}, [section])
    envelope = b"".join(protocol.seal(key, protocol.todo_purpose(job), body))
    return base64.b64encode(envelope).decode()


def read(key: bytes, job: str, text: Optional[str]) -> Todo:
    """What a job was told.

    :param text: None: its batch is its own, and all of it is to run
    :raises protocol.BadSignature: it was told so by another, or another job was
    """
    if text is None:
        return Todo(job)
    try:
        envelope = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise protocol.BadSignature(str(error)) from error
    header, sections = protocol.unseal(key, protocol.todo_purpose(job), envelope)
    bits = int.from_bytes(sections[0], "little")
    return Todo(header["batch"], [number for number in range(bits.bit_length()) if bits >> number & 1])
