"""A batch → what is uploaded for it: a body with every section once, and what is shared beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from smexec.core.work import Batch, Function
from smexec.worker import batch as wire
from smexec.worker.protocol import Buffer

#: Sections of this many bytes travel as objects of their own, named by their digest: uploaded once for a run,
#: whichever calls they belong to, and in parallel.
SHARED_BYTES = 1 << 20


@dataclass
class Assembly:
    """:ivar body: of the batch's envelope
    :ivar shared: digest → bytes of the sections that travel beside it
    """

    body: list[Buffer]
    shared: dict[str, Buffer]


def assemble(batch: Batch, header: Mapping[str, Any], digest: Callable[[Buffer], str]) -> Assembly:
    """:param digest: SHA-256 in hex of a large section; it may remember those it has seen"""
    table = _Table(digest)
    functions = [table.function(call.function) for call in batch.calls]
    calls = [
        wire.PackedCall(function, [table.section(section) for section in call.arguments])
        for function, call in zip(functions, batch.calls, strict=True)
    ]
    shared = {number: name for number, name in enumerate(table.names) if name is not None}
    body = wire.encode(dict(header, sources=table.sources), calls, table.functions, table.sections, shared)
    return Assembly(body, {name: table.sections[number] for number, name in shared.items()})


@dataclass
class _Table:
    digest: Callable[[Buffer], str]
    sections: list[Buffer] = field(default_factory=list)
    names: list[str | None] = field(default_factory=list)  # digests of the shared ones
    functions: list[list[int]] = field(default_factory=list)
    sources: dict[str, str] = field(default_factory=dict)
    _by_digest: dict[str, int] = field(default_factory=dict)
    _by_owner: dict[int, int] = field(default_factory=dict)
    _by_function: dict[int, int] = field(default_factory=dict)
    _by_content: dict[tuple[bytes | int, ...], int] = field(default_factory=dict)

    def function(self, function: Function) -> int:
        """Its number. Equal pickles are one function: ``submit`` pickles anew each time."""
        if id(function) not in self._by_function:
            self._by_function[id(function)] = self._add(function)
        return self._by_function[id(function)]

    def _add(self, function: Function) -> int:
        content = tuple(self._content(section) for section in function.sections)
        if content not in self._by_content:
            self._by_content[content] = len(self.functions)
            self.functions.append([self.section(section) for section in function.sections])
            self.sources.update(function.sources)
        return self._by_content[content]

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
