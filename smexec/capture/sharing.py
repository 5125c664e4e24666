"""What the calls of one ``map`` have in common besides their function: large arguments.

An object that is an argument of several calls, and large, is pickled once, apart from them; their own
pickles refer to it. What lies in buffers does not count: arrays that are not copied into the pickle need none
of this.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from smexec.capture.referring import Apart, Entangled, Refer, Whole, dump_referring, dump_whole, refer_to_none
from smexec.core.assembly import SHARED_BYTES
from smexec.core.work import Pickled
from smexec.errors import FutureNotPicklable
from smexec.worker.protocol import Buffer

_REMEMBERED = 16  # things that are kept, though nobody else may need them any more
_HOLDERS = frozenset({tuple, list, dict})
_FEW = 16  # things that such an argument may hold for each to be looked at by itself
_NEVER_LARGE = frozenset({int, float, bool, complex, type(None)})


class Sharing:
    """Pickles the arguments of one ``map``'s calls, one after the other.

    :param still: nothing runs between two calls that could change what they share
    :param refer: tells futures, whose values the calls will have
    """

    def __init__(self, *, still: bool = False, refer: Refer = refer_to_none) -> None:
        self._still = still
        self._refer = refer
        # What recent large calls consist of, the latest last, and how it is pickled apart, if it was.
        # By identity, which is theirs as long as they are kept here.
        self._seen: dict[int, tuple[Any, Apart | None]] = {}
        self._is_hopeful = True  # that what is large in a call is an argument of the next ones too

    def dump(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Pickled:
        """The pickle of ``(args, kwargs)``. Out-of-band buffers are the arguments' own memory, uncopied."""
        whole = (tuple(args), dict(kwargs))
        found = self._found_in(args) if self._seen else {}
        pickled = self._dump(whole, found)
        self._is_hopeful = self._is_hopeful or bool(found)
        if _is_large(pickled.sections):
            self._notice(args)
            if self._is_hopeful:
                pickled = self._hope(whole, found, pickled)
        return pickled

    def _dump(self, whole: Whole, found: Mapping[int, Apart]) -> Pickled:
        if found:
            with contextlib.suppress(Entangled):
                return dump_referring(whole, found, self._refer)
        return dump_whole(whole, self._refer)

    def _hope(self, whole: Whole, found: Mapping[int, Apart], pickled: Pickled) -> Pickled:
        """Pickle what is large apart, though it is in one call so far. If it stays so, then not again."""
        self._is_hopeful = False
        more = self._found_in(whole[0])
        return self._dump(whole, more) if more.keys() > found.keys() else pickled

    def _notice(self, args: Sequence[Any]) -> None:
        for part in _parts(args):
            self._seen.setdefault(id(part), (part, None))
        for key in list(self._seen)[:-_REMEMBERED]:
            del self._seen[key]

    def _found_in(self, args: Sequence[Any]) -> dict[int, Apart]:
        keys = dict.fromkeys(id(part) for part in _parts(args))
        aparts = {key: self._recall(key) for key in keys if key in self._seen}
        return {key: apart for key, apart in aparts.items() if apart is not None}

    def _recall(self, key: int) -> Apart | None:
        """What is pickled apart; None, and forgotten, if it is not large, or has futures in it."""
        thing, known = self._seen.pop(key)
        try:
            apart = known if known and self._still else Apart(thing)
        except FutureNotPicklable:
            return None
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
