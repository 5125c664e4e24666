"""Pickles that refer by number to what travels apart from them: large objects, and values of futures."""

from __future__ import annotations

import functools
import io
import itertools
import pickle
from collections.abc import Callable, Mapping
from types import BuiltinFunctionType, CellType, FunctionType, ModuleType
from typing import Any, TypeAlias

import cloudpickle

from smexec.core.work import Dependency, Pickled, Shared
from smexec.errors import FutureNotPicklable
from smexec.worker.call import dump
from smexec.worker.protocol import Buffer

#: A call's positional and keyword arguments.
Whole: TypeAlias = tuple[tuple[Any, ...], dict[str, Any]]
#: What stands for a thing if that is a future; else None.
Refer: TypeAlias = Callable[[Any], "Dependency | None"]

_BY_IDENTITY: tuple[Any, ...] = (None, object.__hash__)
_CODE = (type, FunctionType, BuiltinFunctionType, ModuleType, CellType)


class Entangled(Exception):
    """A part of what is pickled apart is an argument too, and would arrive as another object."""


def refer_to_none(_: Any) -> None:
    """There are no futures, or none that can travel."""


def dump_whole(whole: Any, refer: Refer, stream: io.BytesIO | None = None) -> Pickled:
    """The pickle of it all. Without futures in it, nothing is looked for.

    :param stream: for the pickle
    """
    try:
        return Pickled(dump(whole, stream))
    except FutureNotPicklable:
        pass  # and what goes wrong from here on has nothing to do with it
    if stream is not None:
        stream.seek(0)
        stream.truncate()
    pickler = _Referring({}, refer, stream=stream)
    return Pickled(pickler.sections_of(whole), pickler.shared)


def dump_referring(whole: Whole, found: Mapping[int, Apart], refer: Refer) -> Pickled:
    """The pickle of what is not among ``found``, things by their identity.

    :raises Entangled: what is pickled apart is not apart from the rest
    """
    pickler = _Referring(found, refer, made=whole[1])
    sections = pickler.sections_of(whole)
    for one, other in itertools.permutations(pickler.aparts, 2):
        if id(one.thing) in other.inside:
            raise Entangled
    return Pickled(sections, pickler.shared)


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # it has no types
    def __init__(self, stream: io.BytesIO | None = None) -> None:
        self._stream = stream or io.BytesIO()
        self._buffers: list[pickle.PickleBuffer] = []
        super().__init__(self._stream, protocol=5, buffer_callback=self._buffers.append)

    def sections_of(self, value: Any) -> list[Buffer]:
        self.dump(value)
        return [self._stream.getvalue(), *(buffer.raw() for buffer in self._buffers)]


class Apart:
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
    """Writes numbers in the place of what travels apart.

    :param made: for this pickle, and so inside of nothing
    :ivar shared: which numbers stand for what
    :ivar aparts: the large objects among them
    """

    def __init__(
        self,
        found: Mapping[int, Apart],
        refer: Refer,
        *,
        made: Any = None,
        stream: io.BytesIO | None = None,
    ) -> None:
        super().__init__(stream)
        self.shared: list[Shared] = []
        self.aparts: list[Apart] = []
        self._numbers: dict[int, int] = {}  # by identity, which is theirs as long as they are kept
        self._found = found
        self._refer = refer
        self._made = made

    def persistent_id(self, thing: Any) -> int | None:
        """:raises Entangled: it is a part of what is pickled apart"""
        if id(thing) in self._numbers:
            return self._numbers[id(thing)]
        apart = self._found.get(id(thing))
        if apart is not None:
            self.aparts.append(apart)
            return self._number(thing, apart.sections)
        dependency = self._refer(thing)
        if dependency is not None:
            return self._number(thing, dependency)
        if _has_identity(thing) and thing is not self._made and self._is_inside(thing):
            raise Entangled
        return None

    def _number(self, thing: Any, travels: Shared) -> int:
        self.shared.append(travels)
        return self._numbers.setdefault(id(thing), len(self.shared) - 1)

    def _is_inside(self, thing: Any) -> bool:
        return any(id(thing) in apart.inside for apart in self._found.values())


def _has_identity(thing: Any) -> bool:
    """Whether anybody could tell it from its copy. What is hashed by its value is as good as that."""
    return type(thing).__hash__ in _BY_IDENTITY and not isinstance(thing, _CODE)
