"""A batch: the calls of one job, as the client packed them.

Its envelope's header lists the calls; their pickles are its sections. A section that many jobs share (a large
array, a function with much in it) is not in the envelope but an object of its own, named by its digest, which
the signed header states.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Sequence

from . import protocol
from .protocol import Buffer, Header


class PackedCall(NamedTuple):
    """One call: which function, and which sections hold ``(args, kwargs)``."""

    function: int
    sections: Sequence[int]


class Batch(NamedTuple):
    """What a job is to do.

    :ivar functions: for each function, the sections that hold it
    :ivar slots: how many calls run at a time; None: one for each CPU
    :ivar timeout: seconds that one call may take
    :ivar gpus: GPUs for each call; 0: all calls see all
    """

    calls: List[PackedCall]
    functions: List[List[int]]
    sections: List[Buffer]
    sources: Dict[str, str]
    slots: Optional[int]
    timeout: Optional[float]
    gpus: int

    def buffers(self, sections: Sequence[int]) -> List[Buffer]:
        """These sections' bytes: a pickle, then its out-of-band buffers."""
        return [self.sections[number] for number in sections]


def encode(
    header: Header,
    calls: Sequence[PackedCall],
    functions: Sequence[Sequence[int]],
    sections: Sequence[Buffer],
    shared: Dict[int, str],
) -> List[Buffer]:
    """The body of a batch's envelope.

    :param sections: all that the calls refer to; those in ``shared`` may be empty here
    :param shared: position → SHA-256 of the sections that travel as objects of their own
    """
    inline = [number for number in range(len(sections)) if number not in shared]
    whole = dict(header, calls=calls, functions=functions, inline=inline, shared=list(shared.items()))
    return protocol.encode_body(whole, [sections[number] for number in inline])


def decode(header: Header, inline: Sequence[memoryview], folder: Path) -> Batch:
    """The inverse.

    :param folder: where the shared sections lie
    :raises protocol.BadSignature: a shared section is not what the header says
    """
    sections: Dict[int, Buffer] = dict(zip(header["inline"], inline))
    for number, digest in header["shared"]:
        sections[number] = memoryview(_shared(folder / digest, digest)).toreadonly()
    return Batch(
        calls=[PackedCall(*call) for call in header["calls"]],
        functions=header["functions"],
        sections=[sections[number] for number in range(len(sections))],
        sources=header.get("sources", {}),
        slots=header.get("slots"),
        timeout=header.get("timeout"),
        gpus=header.get("gpus", 0),
    )


def read(path: Path) -> bytearray:
    """Into memory that may be written to: arrays that lie in it must be the user's to change."""
    content = bytearray(path.stat().st_size)
    with path.open("rb") as file:
        file.readinto(content)
    return content


def _shared(path: Path, digest: str) -> bytearray:
    content = read(path)
    if hashlib.sha256(content).hexdigest() != digest:
        message = "the shared section {} is not what the client uploaded".format(digest)
        raise protocol.BadSignature(message)
    return content
