"""A batch: the calls of one job, as the client packed them.

Its envelope's header lists the calls; their pickles are its sections. A large section (an array, say, that
many calls share) is not in the envelope but an object of its own, named by its digest, which the signed
header states. What another call has ended with lies where its job wrote it (see ``values``).

Whatever is handed out may be written to, as it could be where it came from, and nobody else sees it:
small sections are copies; a large one is mapped anew each time, and only pages that are changed take memory.
"""

from __future__ import annotations

import collections
import hashlib
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Sequence, Union

from . import protocol
from .extent import Extent
from .protocol import Buffer, Header
from .values import Values

Section = Union[Buffer, Extent]


class PackedCall(NamedTuple):
    """One call.

    :ivar function: which object is called
    :ivar sections: those that hold ``(args, kwargs)``
    :ivar shared: the objects that those refer to
    """

    function: int
    sections: Sequence[int]
    shared: Sequence[int] = ()

    @property
    def objects(self) -> List[int]:
        """All that must be loaded before it can start."""
        return [self.function, *self.shared]


class Batch(NamedTuple):
    """What a job is to do.

    :ivar objects: functions, large arguments, other calls' values: for each, the sections that hold it
    :ivar sections: their bytes, or where in a file those are
    :ivar slots: how many calls run at a time; None: one for each CPU
    :ivar timeout: seconds that one call may take
    :ivar gpus: GPUs for each call; 0: all calls see all
    """

    calls: List[PackedCall]
    objects: List[List[int]]
    sections: List[Section]
    sources: Dict[str, str]
    slots: Optional[int]
    timeout: Optional[float]
    gpus: int

    @property
    def common(self) -> List[int]:
        """The objects to load before any call: functions, and arguments of several calls."""
        uses = collections.Counter(number for call in self.calls for number in call.shared)
        shared = {number for number, count in uses.items() if count > 1}
        return sorted(shared.union(call.function for call in self.calls))

    def object(self, number: int) -> List[Buffer]:
        """An object's pickle, then its out-of-band buffers."""
        return [self._own(section) for section in self.objects[number]]

    def arguments(self, call: int) -> List[Buffer]:
        """The same for a call's arguments."""
        return [self._own(section) for section in self.calls[call].sections]

    def _own(self, number: int) -> Buffer:
        section = self.sections[number]
        return section.mapped() if isinstance(section, Extent) else bytearray(section)


def encode(
    header: Header,
    calls: Sequence[PackedCall],
    objects: Sequence[Union[Sequence[int], Header]],
    sections: Sequence[Buffer],
    shared: Dict[int, str],
) -> List[Buffer]:
    """The body of a batch's envelope.

    :param objects: for each its sections; or, of another call's value, the event and the call
    :param sections: all that the calls refer to; those in ``shared`` may be empty here
    :param shared: position → SHA-256 of the sections that travel as objects of their own
    """
    inline = [number for number in range(len(sections)) if number not in shared]
    whole = dict(header, calls=calls, objects=objects, inline=inline, shared=list(shared.items()))
    return protocol.encode_body(whole, [sections[number] for number in inline])


def decode(header: Header, inline: Sequence[memoryview], folder: Path, values: Values) -> Batch:
    """The inverse.

    :param folder: where the shared sections lie
    :raises protocol.BadSignature: a shared section is not what the header says, or a value not its job's
    """
    given: Dict[int, Section] = dict(zip(header["inline"], inline))  # noqa: B905  # 3.8 has no strict
    for number, digest in header["shared"]:
        given[number] = _verified(folder / digest, digest)
    sections = [given[number] for number in range(len(given))]
    objects = [_numbers(item, sections, values) for item in header["objects"]]
    return Batch(
        calls=[PackedCall(*call) for call in header["calls"]],
        objects=objects,
        sections=sections,
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


def _numbers(item: Union[List[int], Header], sections: List[Section], values: Values) -> List[int]:
    """Of an object's sections. Those of another call's value are added to the others."""
    if isinstance(item, list):
        return item
    found = values.of(item["event"], item["call"])
    sections.extend(found)
    return list(range(len(sections) - len(found), len(sections)))


def _verified(path: Path, digest: str) -> Extent:
    extent = Extent(path)
    if hashlib.sha256(extent.mapped()).hexdigest() != digest:
        message = "the shared section {} is not what the client uploaded".format(digest)
        raise protocol.BadSignature(message)
    return extent
