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
    _by_function: dict[int, int] = field(default_factory=dict)
    _by_pickle: dict[bytes, int] = field(default_factory=dict)

    def function(self, function: Function) -> int:
        """Its number. Equal pickles are one function: ``submit`` pickles anew each time."""
        if id(function) not in self._by_function:
            self._by_function[id(function)] = self._add(function)
        return self._by_function[id(function)]

    def _add(self, function: Function) -> int:
        key = bytes(function.sections[0]) if len(function.sections) == 1 else None
        if key is not None and key in self._by_pickle:
            return self._by_pickle[key]
        self.functions.append([self.section(section) for section in function.sections])
        self.sources.update(function.sources)
        number = len(self.functions) - 1
        if key is not None:
            self._by_pickle[key] = number
        return number

    def section(self, section: Buffer) -> int:
        """Its number."""
        if memoryview(section).nbytes < SHARED_BYTES:
            return self._append(section, None)
        name = self.digest(section)
        if name not in self._by_digest:
            self._by_digest[name] = self._append(section, name)
        return self._by_digest[name]

    def _append(self, section: Buffer, name: str | None) -> int:
        self.sections.append(section)
        self.names.append(name)
        return len(self.sections) - 1
