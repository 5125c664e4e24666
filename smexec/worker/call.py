"""One call, from its sections to the body of its outcome. Runs in a process of its own (see ``slot``)."""

from __future__ import annotations

import io
import linecache
import pickle
import sys
import time
import traceback
import types
from typing import Any, Dict, List, Optional, Sequence

from . import protocol
from .protocol import Buffer, Header

TEXT_LIMIT = 100_000  # characters of a traceback or message; a RecursionError's could have no end

Body = List[Buffer]


def run(header: Header, sections: Sequence[memoryview]) -> Body:
    """Run the call and say how it ended. Never raises: whatever happens is the outcome."""
    began = time.time()
    _become_main()
    _show_sources(header.get("sources", {}))
    try:
        function, args, kwargs = pickle.loads(sections[0], buffers=sections[1:])
    except BaseException as error:
        return _body(began, _unreadable(error))
    try:
        value = function(*args, **kwargs)
    except BaseException as error:
        return _ended_by(error, began)
    try:
        return _body(began, {"outcome": protocol.VALUE}, dump(value))
    except BaseException as error:
        return _body(began, {"outcome": protocol.VALUE_UNPICKLABLE, **describe(error)})


def dump(value: Any) -> List[Buffer]:
    """The pickle of a value, then its out-of-band buffers."""
    import cloudpickle

    buffers: List[pickle.PickleBuffer] = []
    stream = io.BytesIO()
    cloudpickle.Pickler(stream, protocol=5, buffer_callback=buffers.append).dump(value)
    return [stream.getbuffer(), *(buffer.raw() for buffer in buffers)]


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


def _body(began: float, header: Header, sections: Sequence[Buffer] = ()) -> Body:
    return protocol.encode_body(dict(header, began=began, ended=time.time()), sections)


def _unreadable(error: BaseException) -> Header:
    if isinstance(error, ModuleNotFoundError) and error.name:
        return {"outcome": protocol.MISSING_MODULE, "module": error.name, **describe(error)}
    return {"outcome": protocol.UNREADABLE, **describe(error)}


def _ended_by(error: BaseException, began: float) -> Body:
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, (int, type(None))) else _text_of(error.code)
        return _body(began, {"outcome": protocol.EXITED, "code": code, **describe(error)})
    if not isinstance(error, Exception):
        return _body(began, {"outcome": protocol.INTERRUPTED, **describe(error)})
    header = describe(error)
    try:
        sections = dump(error)
        # Many an exception pickles and then fails to unpickle, for its __init__ wants other arguments.
        pickle.loads(sections[0], buffers=sections[1:])
    except BaseException as unpicklable:
        why = "{}: {}".format(type(unpicklable).__name__, _text_of(unpicklable))
        return _body(began, {"outcome": protocol.RAISED_UNPICKLABLE, "why": why, **header})
    return _body(began, {"outcome": protocol.RAISED, **header}, sections)


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


def _become_main() -> None:
    """Give the user's code a ``__main__`` of its own, and no arguments.

    Ours names a file inside the zipapp, which multiprocessing's spawn would try, and fail, to run again.
    """
    sys.modules["__main__"] = types.ModuleType("__main__")
    sys.argv = [""]


def _show_sources(sources: Dict[str, str]) -> None:
    """Let tracebacks show the source lines of files that exist only where the call came from."""
    for name, text in sources.items():
        linecache.cache.setdefault(name, (len(text), None, text.splitlines(True), name))

