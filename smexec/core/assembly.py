"""A batch → what is uploaded for it: a body with every section once, and what is shared beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from smexec.core.work import Batch, Call, Dependency, Shared, Stored
from smexec.worker import batch as wire
from smexec.worker.protocol import Buffer, Header

#: Sections of this many bytes travel as objects of their own, named by their digest: uploaded once for a run,
#: whichever calls they belong to, and in parallel.
SHARED_BYTES = 1 << 20


@dataclass
class Assembly:
    """:ivar body: of the batch's envelope
    :ivar shared: digest → bytes of the sections that travel beside it
    :ivar values: the events with values that calls take as arguments
    """

    body: list[Buffer]
    shared: dict[str, Buffer]
    values: list[str]


def assemble(batch: Batch, header: Mapping[str, Any], digest: Callable[[Buffer], str]) -> Assembly:
    """:param digest: SHA-256 in hex of a large section; it may remember those it has seen"""
    table = _Table(digest)
    calls = [table.call(call) for call in batch.calls]
    shared = {number: name for number, name in enumerate(table.names) if name is not None}
    body = wire.encode(dict(header, sources=table.sources), calls, table.objects, table.sections, shared)
    return Assembly(body, {name: table.sections[number] for number, name in shared.items()}, table.values)


@dataclass
class _Table:
    digest: Callable[[Buffer], str]
    sections: list[Buffer] = field(default_factory=list)
    names: list[str | None] = field(default_factory=list)  # digests of the shared ones
    objects: list[list[int] | Header] = field(default_factory=list)  # functions and shared arguments
    sources: dict[str, str] = field(default_factory=dict)
    _by_digest: dict[str, int] = field(default_factory=dict)
    _by_place: dict[Stored, int] = field(default_factory=dict)
    _by_owner: dict[int, int] = field(default_factory=dict)
    _by_pickle: dict[int, int] = field(default_factory=dict)
    _by_content: dict[tuple[bytes | int, ...], int] = field(default_factory=dict)

    def call(self, call: Call) -> wire.PackedCall:
        """What it consists of, in numbers."""
        self.sources.update(call.function.sources)
        function, *shared = self._objects(call.function.sections, *call.arguments.shared)
        own = [self.section(section) for section in call.arguments.sections]
        return wire.PackedCall(function, own, shared)

    @property
    def values(self) -> list[str]:
        """The events that hold the values which calls take as arguments."""
        return list(dict.fromkeys(stored.event for stored in self._by_place))

    def _objects(self, *items: Shared) -> list[int]:
        """Their numbers. What one call has twice, though equal, is two objects to it."""
        numbers: list[int] = []
        for item in items:
            assert not isinstance(item, Dependency)
            if isinstance(item, Stored):
                numbers.append(self._stored(item))
                continue
            number = self._object(item)
            numbers.append(self._add(item) if number in numbers else number)
        return numbers

    def _stored(self, stored: Stored) -> int:
        if stored not in self._by_place:
            self.objects.append(stored._asdict())
            self._by_place[stored] = len(self.objects) - 1
        return self._by_place[stored]

    def _object(self, sections: Sequence[Buffer]) -> int:
        """Its number. Equal pickles are one object: ``submit`` pickles a function anew each time."""
        if id(sections) not in self._by_pickle:  # which lives as long as the batch does
            content = tuple(self._content(section) for section in sections)
            if content not in self._by_content:
                self._by_content[content] = self._add(sections)
            self._by_pickle[id(sections)] = self._by_content[content]
        return self._by_pickle[id(sections)]

    def _add(self, sections: Sequence[Buffer]) -> int:
        self.objects.append([self.section(section) for section in sections])
        return len(self.objects) - 1

    def _content(self, section: Buffer) -> bytes | int:
        """What is equal for equal sections."""
        return self.section(section) if _is_large(section) else bytes(section)

    def section(self, section: Buffer) -> int:
        """Its number. The same memory stands once, and so does large content."""
        owner = memoryview(section).obj
        if memoryview(owner).nbytes != memoryview(section).nbytes:  # a part of it
            return self._append(section)
        if id(owner) not in self._by_owner:  # which lives as long as the batch does
            self._by_owner[id(owner)] = self._append(section)
        return self._by_owner[id(owner)]

    def _append(self, section: Buffer) -> int:
        name = self.digest(section) if _is_large(section) else None
        if name is not None and name in self._by_digest:
            return self._by_digest[name]
        self.sections.append(section)
        self.names.append(name)
        if name is not None:
            self._by_digest[name] = len(self.sections) - 1
        return len(self.sections) - 1


def _is_large(section: Buffer) -> bool:
    return memoryview(section).nbytes >= SHARED_BYTES
