"""What the calls of one ``map`` have in common besides their function: large arguments.

An object that is an argument of several calls, and large, is pickled once, apart from them; their own
pickles refer to it. What lies in buffers does not count: arrays that are not copied into the pickle need none
of this.
"""

from __future__ import annotations

import contextlib
import functools
import io
import itertools
import pickle
from collections.abc import Iterator, Mapping, Sequence
from types import BuiltinFunctionType, CellType, FunctionType, ModuleType
from typing import Any, TypeAlias

import cloudpickle

from smexec.core.assembly import SHARED_BYTES
from smexec.core.work import Pickled
from smexec.worker.call import dump
from smexec.worker.protocol import Buffer

_Whole: TypeAlias = tuple[tuple[Any, ...], dict[str, Any]]

_REMEMBERED = 16  # things that are kept, though nobody else may need them any more
_HOLDERS = frozenset({tuple, list, dict})
_FEW = 16  # things that such an argument may hold for each to be looked at by itself
_NEVER_LARGE = frozenset({int, float, bool, complex, type(None)})
_BY_IDENTITY: tuple[Any, ...] = (None, object.__hash__)
_CODE = (type, FunctionType, BuiltinFunctionType, ModuleType, CellType)


class Sharing:
    """Pickles the arguments of one ``map``'s calls, one after the other.

    :param still: nothing runs between two calls that could change what they share
    """

    def __init__(self, *, still: bool = False) -> None:
        self._still = still
        # What recent large calls consist of, the latest last, and how it is pickled apart, if it was.
        # By identity, which is theirs as long as they are kept here.
        self._seen: dict[int, tuple[Any, _Apart | None]] = {}
        self._is_hopeful = True  # that what is large in a call is an argument of the next ones too

    def dump(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Pickled:
        """The pickle of ``(args, kwargs)``. Out-of-band buffers are the arguments' own memory, uncopied."""
        whole = (tuple(args), dict(kwargs))
        found = self._found_in(args) if self._seen else {}
        pickled = _dump(whole, found)
        self._is_hopeful = self._is_hopeful or bool(found)
        if _is_large(pickled.sections):
            self._notice(args)
            if self._is_hopeful:
                pickled = self._hope(whole, found, pickled)
        return pickled

    def _hope(self, whole: _Whole, found: Mapping[int, _Apart], pickled: Pickled) -> Pickled:
        """Pickle what is large apart, though it is in one call so far. If it stays so, then not again."""
        self._is_hopeful = False
        more = self._found_in(whole[0])
        return _dump(whole, more) if more.keys() > found.keys() else pickled

    def _notice(self, args: Sequence[Any]) -> None:
        for part in _parts(args):
            self._seen.setdefault(id(part), (part, None))
        for key in list(self._seen)[:-_REMEMBERED]:
            del self._seen[key]

    def _found_in(self, args: Sequence[Any]) -> dict[int, _Apart]:
        keys = dict.fromkeys(id(part) for part in _parts(args))
        aparts = {key: self._recall(key) for key in keys if key in self._seen}
        return {key: apart for key, apart in aparts.items() if apart is not None}

    def _recall(self, key: int) -> _Apart | None:
        """What is pickled apart; None, and forgotten, if it is not large."""
        thing, known = self._seen.pop(key)
        apart = known if known and self._still else _Apart(thing)
        if known and apart.sections == known.sections:
            apart.sections = known.sections  # calls that wait have it in memory once
        if not _is_large(apart.sections):
            return None
        self._seen[key] = thing, apart
        return apart


def _parts(args: Sequence[Any]) -> Iterator[Any]:
    """The arguments; of those that only hold a few things together, these things."""
    for arg in args:
        kind = type(arg)
        if kind in _HOLDERS and len(arg) <= _FEW:
            items = arg.values() if kind is dict else arg
            yield from (item for item in items if type(item) not in _NEVER_LARGE)
        elif kind not in _NEVER_LARGE:
            yield arg


def _is_large(sections: Sequence[Buffer]) -> bool:
    """Without the buffers: those that are large are objects of their own anyway."""
    return memoryview(sections[0]).nbytes >= SHARED_BYTES


def _dump(whole: _Whole, found: Mapping[int, _Apart]) -> Pickled:
    if found:
        with contextlib.suppress(_Entangled):
            return _dump_referring(whole, found)
    return Pickled(dump(whole))


def _dump_referring(whole: _Whole, found: Mapping[int, _Apart]) -> Pickled:
    """:raises _Entangled: what is pickled apart is not apart from the rest"""
    pickler = _Referring(found, whole[1])
    sections = pickler.sections_of(whole)
    for one, other in itertools.permutations(pickler.shared, 2):
        if id(one.thing) in other.inside:
            raise _Entangled
    return Pickled(sections, [apart.sections for apart in pickler.shared])


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # it has no types
    def __init__(self) -> None:
        self._stream = io.BytesIO()
        self._buffers: list[pickle.PickleBuffer] = []
        super().__init__(self._stream, protocol=5, buffer_callback=self._buffers.append)

    def sections_of(self, value: Any) -> list[Buffer]:
        self.dump(value)
        return [self._stream.getvalue(), *(buffer.raw() for buffer in self._buffers)]


class _Apart:
    """A large object, pickled by itself. :ivar sections: its pickle and its out-of-band buffers"""

    def __init__(self, thing: Any) -> None:
        self._pickler = _Pickler()
        self.thing = thing
        self.sections = self._pickler.sections_of(thing)

    @functools.cached_property
    def inside(self) -> dict[int, Any]:
        """What it consists of, by identity. Kept, since some of it was made for the pickle only."""
        parts = (part for _, part in self._pickler.memo.copy().values())
        return {id(part): part for part in parts if _has_identity(part)}


class _Referring(_Pickler):
    """Writes numbers in the place of what is pickled apart. :ivar shared: which numbers stand for what"""

    def __init__(self, found: Mapping[int, _Apart], kwargs: dict[str, Any]) -> None:
        super().__init__()
        self.shared: list[_Apart] = []
        self._found = found
        self._kwargs = kwargs  # made for this pickle, and so inside of nothing

    def persistent_id(self, thing: Any) -> int | None:
        """:raises _Entangled: it is a part of what is pickled apart"""
        apart = self._found.get(id(thing))
        if apart is not None:
            if apart not in self.shared:
                self.shared.append(apart)
            return self.shared.index(apart)
        if _has_identity(thing) and thing is not self._kwargs and self._is_inside(thing):
            raise _Entangled
        return None

    def _is_inside(self, thing: Any) -> bool:
        return any(id(thing) in apart.inside for apart in self._found.values())


class _Entangled(Exception):
    """A part of what is pickled apart is an argument too, and would arrive as another object."""


def _has_identity(thing: Any) -> bool:
    """Whether anybody could tell it from its copy. What is hashed by its value is as good as that."""
    return type(thing).__hash__ in _BY_IDENTITY and not isinstance(thing, _CODE)
