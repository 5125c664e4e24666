"""One call, from its sections to its outcome. Runs in a slot's process."""

from __future__ import annotations

import io
import linecache
import pickle
import sys
import time
import traceback
import types
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence

from . import protocol
from .batch import Batch
from .protocol import Buffer, Header

HEAVY = 1 << 20  # bytes of an object's pickle; arrays in it do not count, they are mapped
TEXT_LIMIT = 100_000  # characters of a traceback or message; a RecursionError's could have no end


class Outcome(NamedTuple):
    """How a call ended: what is said of it, and the pickle of its value or exception.

    :ivar is_last: the call had objects that others must not find as it left them
    """

    header: Header
    sections: Sequence[Buffer] = ()
    is_last: bool = False


def run(batch: Batch, loaded: Mapping[int, Any], number: int) -> Outcome:
    """Run a call of the batch and say how it ended. Never raises: whatever happens is the outcome.

    :param loaded: objects that were loaded before this process was forked
    """
    touched = any(which in loaded for which in batch.calls[number].objects)
    return _run(batch, loaded, number)._replace(is_last=touched)


def _run(batch: Batch, loaded: Mapping[int, Any], number: int) -> Outcome:
    began = time.time()
    call = batch.calls[number]
    try:
        objects = {which: _object(batch, loaded, which) for which in call.objects}
        args, kwargs = _load(batch.arguments(number), [objects[which] for which in call.shared])
        function = objects[call.function]
    except BaseException as error:
        return _stated(began, _unreadable(error))
    try:
        value = function(*args, **kwargs)
    except BaseException as error:
        return _ended_by(error, began)
    try:
        return _stated(began, {"outcome": protocol.VALUE}, dump(value))
    except BaseException as error:
        return _stated(began, {"outcome": protocol.VALUE_UNPICKLABLE, **describe(error)})


def _object(batch: Batch, loaded: Mapping[int, Any], number: int) -> Any:
    return loaded[number] if number in loaded else load_object(batch, number)


def load_object(batch: Batch, number: int) -> Any:
    """A function or argument, anew for each call: what a call changes about it is not the next one's."""
    return _load(batch.object(number))


def is_heavy(batch: Batch, number: int) -> bool:
    """Whether loading the object takes longer than forking a process that has it."""
    return memoryview(batch.object(number)[0]).nbytes >= HEAVY


def prepare(sources: Dict[str, str]) -> None:
    """Make this process the user's: a ``__main__`` of its own, no arguments, source lines for tracebacks.

    Our ``__main__`` names a file inside the zipapp, which multiprocessing's spawn would try to run again.
    """
    sys.modules["__main__"] = types.ModuleType("__main__")
    sys.argv = [""]
    for name, text in sources.items():  # of files that exist only where the call came from
        linecache.cache.setdefault(name, (len(text), None, text.splitlines(True), name))


def dump(value: Any, stream: Optional[io.BytesIO] = None) -> List[Buffer]:
    """The pickle of a value, then its out-of-band buffers.

    :param stream: to be used for the pickle
    """
    import cloudpickle

    buffers: List[pickle.PickleBuffer] = []
    stream = stream or io.BytesIO()
    cloudpickle.Pickler(stream, protocol=5, buffer_callback=buffers.append).dump(value)
    # The bytes, which BytesIO gives away uncopied; a view of it would be in the way of its own end.
    return [stream.getvalue(), *(buffer.raw() for buffer in buffers)]


def describe(error: BaseException, skip: int = 1) -> Header:
    """An exception as text, without the first ``skip`` frames: they are ours, not the user's."""
    trace: Optional[types.TracebackType] = error.__traceback__
    for _ in range(skip):
        trace = trace.tb_next if trace and trace.tb_next else trace
    return {
        "type": type(error).__qualname__,
        "message": _text_of(error)[:TEXT_LIMIT],
        "traceback": _trace_of(error, trace)[-TEXT_LIMIT:],
    }


def _load(sections: Sequence[Buffer], shared: Sequence[Any] = ()) -> Any:
    if not shared:
        return pickle.loads(sections[0], buffers=sections[1:])
    return _Unpickler(sections, shared).load()


class _Unpickler(pickle.Unpickler):
    """Of a pickle that refers to objects by their numbers."""

    def __init__(self, sections: Sequence[Buffer], shared: Sequence[Any]) -> None:
        super().__init__(io.BytesIO(sections[0]), buffers=sections[1:])
        self._shared = shared

    def persistent_load(self, number: int) -> Any:
        return self._shared[number]


def _stated(began: float, header: Header, sections: Sequence[Buffer] = ()) -> Outcome:
    return Outcome(dict(header, began=began, ended=time.time()), sections)


def _unreadable(error: BaseException) -> Header:
    if isinstance(error, ModuleNotFoundError) and error.name:
        return {"outcome": protocol.MISSING_MODULE, "module": error.name, **describe(error)}
    return {"outcome": protocol.UNREADABLE, **describe(error)}


def _ended_by(error: BaseException, began: float) -> Outcome:
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, (int, type(None))) else _text_of(error.code)
        return _stated(began, {"outcome": protocol.EXITED, "code": code, **describe(error)})
    if not isinstance(error, Exception):
        return _stated(began, {"outcome": protocol.INTERRUPTED, **describe(error)})
    header = describe(error)
    try:
        sections = dump(error)
        # Many an exception pickles and then fails to unpickle, for its __init__ wants other arguments.
        _load(sections)
    except BaseException as unpicklable:
        why = "{}: {}".format(type(unpicklable).__name__, _text_of(unpicklable))
        return _stated(began, {"outcome": protocol.RAISED_UNPICKLABLE, "why": why, **header})
    return _stated(began, {"outcome": protocol.RAISED, **header}, sections)


def _text_of(value: object) -> str:
    try:
        return str(value)
    except BaseException as another:
        return "<its str() raised {}>".format(type(another).__name__)


def _trace_of(error: BaseException, trace: Optional[types.TracebackType]) -> str:
    try:
        return "".join(traceback.format_exception(type(error), error, trace))
    except BaseException as another:  # the user's exception has a say in it: __cause__, __notes__, ...
        return "<its traceback could not be formatted: {}>\n".format(type(another).__name__)
