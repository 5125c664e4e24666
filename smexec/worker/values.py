"""Values that other calls of the run have ended with, and that calls of this job take as arguments.

They are in the objects that those calls' jobs wrote, which the platform has brought here: nobody has read and
written them again.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Dict, Iterator, List, Sequence

from . import protocol
from .extent import Extent
from .protocol import Event


class Values:
    """:param folder: where the objects lie, by their names
    :param key: the run's, which they are signed with
    """

    def __init__(self, folder: Path, key: bytes) -> None:
        self._folder = folder
        self._key = key
        self._opened: Dict[str, Dict[int, List[Extent]]] = {}

    def of(self, event: str, call: int) -> List[Extent]:
        """The pickle of a call's value and its out-of-band buffers.

        :raises protocol.BadSignature: they are not what the job wrote that the event's name speaks of
        """
        if event not in self._opened:
            self._opened[event] = self._open(event)
        if call not in self._opened[event]:
            message = "{} has no value of call {}".format(event, call)
            raise protocol.BadSignature(message)
        return self._opened[event][call]

    def _open(self, name: str) -> Dict[int, List[Extent]]:
        event = Event.parse(name)
        if event is None:
            raise protocol.BadSignature(name + " is no event")
        path = self._folder / name
        envelope = Extent(path).mapped()
        header, _ = protocol.unseal(self._key, protocol.events_purpose(event.job, event.number), envelope)
        extents = _extents(path, header["sizes"], envelope.nbytes - protocol.MAC_SIZE)
        own = [(told, list(itertools.islice(extents, told["sections"]))) for told in header["events"]]
        return {told["call"]: some for told, some in own if _is_value(told["outcome"])}


def _is_value(outcome: object) -> bool:
    return isinstance(outcome, dict) and outcome["outcome"] == protocol.VALUE


def _extents(path: Path, sizes: Sequence[int], end: int) -> Iterator[Extent]:
    """Of the sections of an envelope whose body ends there: they are the last of it."""
    start = end - sum(size + protocol.padding(size) for size in sizes)
    for size in sizes:
        yield Extent(path, start, start + size)
        start += size + protocol.padding(size)
