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

HEAVY = 1 << 20  # bytes of a function's pickle; arrays in it do not count, they are mapped
TEXT_LIMIT = 100_000  # characters of a traceback or message; a RecursionError's could have no end


class Outcome(NamedTuple):
    """How a call ended: what is said of it, and the pickle of its value or exception.

    :ivar is_last: the call had a function that others must not find as it left it
    """

    header: Header
    sections: Sequence[Buffer] = ()
    is_last: bool = False


def run(batch: Batch, loaded: Mapping[int, Any], number: int) -> Outcome:
    """Run a call of the batch and say how it ended. Never raises: whatever happens is the outcome.

    :param loaded: functions that were loaded before this process was forked
    """
    which = batch.calls[number].function
    return _run(batch, loaded, number)._replace(is_last=which in loaded)


def _run(batch: Batch, loaded: Mapping[int, Any], number: int) -> Outcome:
    began = time.time()
    which = batch.calls[number].function
    try:
        function = loaded[which] if which in loaded else load_function(batch, which)
        args, kwargs = _load(batch.arguments(number))
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


def load_function(batch: Batch, number: int) -> Any:
    """The function, anew for each call: what a call changes about it is not the next one's."""
    return _load(batch.function(number))


def is_heavy(batch: Batch, number: int) -> bool:
    """Whether loading the function takes longer than forking a process that has it."""
    return memoryview(batch.function(number)[0]).nbytes >= HEAVY


def prepare(sources: Dict[str, str]) -> None:
    """Make this process the user's: a ``__main__`` of its own, no arguments, source lines for tracebacks.

    Our ``__main__`` names a file inside the zipapp, which multiprocessing's spawn would try to run again.
    """
    sys.modules["__main__"] = types.ModuleType("__main__")
    sys.argv = [""]
    for name, text in sources.items():  # of files that exist only where the call came from
        linecache.cache.setdefault(name, (len(text), None, text.splitlines(True), name))


def dump(value: Any) -> List[Buffer]:
    """The pickle of a value, then its out-of-band buffers."""
    import cloudpickle

    buffers: List[pickle.PickleBuffer] = []
    stream = io.BytesIO()
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


def _load(sections: Sequence[Buffer]) -> Any:
    return pickle.loads(sections[0], buffers=sections[1:])


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
