"""Calls → sections of bytes, and sections of outcomes → values.

Code that the container cannot import travels by value: what is in ``__main__`` or a notebook always, and
the package of the function and that of the module which submits it, unless they are installed.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import io
import itertools
import linecache
import os
import pickle
import sys
import sysconfig
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import CodeType, FrameType, ModuleType
from typing import Any

import cloudpickle

from smexec.capture.referring import Refer, dump_whole, refer_to_none
from smexec.capture.sharing import Sharing
from smexec.core.work import Function, Pickled
from smexec.errors import CallNotPicklable
from smexec.worker.call import dump
from smexec.worker.protocol import Buffer

SOURCE_LIMIT = 200_000  # characters of a file that travels along so that tracebacks show its lines

_DEEPEST, _MOST_CHILDREN = 20, 10_000  # how far the culprit is looked for in what cannot be pickled

_registering = threading.RLock()
_registered: Counter[str] = Counter()  # module → the dumps under way that have it registered by value


def _renew() -> None:
    """In a forked child: a thread of the parent may have held the lock, and will never let it go here."""
    global _registering
    _registering = threading.RLock()


os.register_at_fork(after_in_child=_renew)


class TooLarge(Exception):
    """A pickle has more bytes than there was time for."""


def dump_function(function: Callable[..., Any], caller: str | None) -> Function:
    """A function, pickled for as many calls as there will be.

    :param caller: the name of the module that submits, or None
    :raises CallNotPicklable: it cannot be pickled
    """
    with _by_value(_homes(function, caller)):
        try:
            sections = dump(function)
        except Exception as error:
            raise _refused(f"the function {name_of(function)} ({type(function).__name__})", error) from error
    return Function(name_of(function), sections, sources_of(function))


def dump_arguments(
    function: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    caller: str | None,
    *,
    sharing: Sharing | None = None,
    refer: Refer = refer_to_none,
    most: int | None = None,
) -> Pickled:
    """A call's arguments, pickled. Arrays lie outside the pickle: their own memory, uncopied.

    :param sharing: what knows of the arguments of other calls
    :param refer: tells futures, whose values the call will have
    :param most: bytes of the pickle
    :raises CallNotPicklable: naming the argument
    :raises TooLarge: it would be more than ``most``
    """
    with _by_value(_homes(function, caller)):
        try:
            if sharing is not None:
                return sharing.dump(args, kwargs)
            return dump_whole((tuple(args), dict(kwargs)), refer, _Bounded(most) if most else None)
        except TooLarge:
            raise
        except Exception as error:
            raise _refused(_culprit(args, kwargs, refer), error) from error


def dump_value(function: Callable[..., Any], caller: str | None, value: Any) -> list[Buffer]:
    """What another call has ended with, pickled as an argument of this function.

    :raises CallNotPicklable: it cannot be pickled
    """
    with _by_value(_homes(function, caller)):
        try:
            return dump(value)
        except Exception as error:
            raise _refused(f"a future's value ({type(value).__name__})", error) from error


class _Bounded(io.BytesIO):
    """Takes so many bytes."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def write(self, content: Buffer) -> int:  # type: ignore[override]
        if self.tell() + len(content) > self._most:
            raise TooLarge
        return super().write(content)


def _homes(function: Callable[..., Any], caller: str | None) -> set[str]:
    """The modules whose code travels by value, if it is the user's."""
    return {module for module in {*_modules_of(function), caller} if module and module != "__main__"}


def _refused(what: str, error: Exception) -> CallNotPicklable:
    return CallNotPicklable(
        f"{what} cannot be pickled, so it cannot be sent: {type(error).__name__}: {error}"
    )


def load(sections: Sequence[Buffer]) -> Any:
    """The inverse for an outcome. Only for sections whose signature holds: unpickling runs code."""
    return pickle.loads(sections[0], buffers=sections[1:])


def name_of(function: Callable[..., Any]) -> str:
    """What people call it: ``train``, ``Model.fit``, ``<lambda>``."""
    inner = _innermost(function)
    name = getattr(inner, "__qualname__", None) or type(inner).__qualname__
    return str(name).rpartition("<locals>.")[2]


def sources_of(function: Callable[..., Any]) -> dict[str, str]:
    """The text of the file that the function is written in, by its name; nothing if there is none."""
    try:
        code = getattr(inspect.unwrap(_innermost(function)), "__code__", None)
    except ValueError:  # an object that has every attribute it is asked for seems to wrap itself
        return {}
    if not isinstance(code, CodeType) or not _is_users_file(code.co_filename):
        return {}
    text = "".join(linecache.getlines(code.co_filename))
    return {code.co_filename: text} if 0 < len(text) <= SOURCE_LIMIT else {}


def calling_module(frame: FrameType | None) -> str | None:
    """The name of the first module up the stack that is the user's: not ours, nor another library's."""
    while frame is not None:
        name = str(frame.f_globals.get("__name__", ""))
        module = sys.modules.get(name)
        if name == "__main__" or (module is not None and _is_users(module)):
            return name
        frame = frame.f_back
    return None


def _innermost(function: Callable[..., Any]) -> Any:
    while isinstance(function, functools.partial):
        function = function.func
    return getattr(function, "__func__", function)


def _modules_of(function: Callable[..., Any]) -> set[str | None]:
    """Where the function is written, and where its object's class is."""
    inner = _innermost(function)
    return {
        getattr(inner, "__module__", None),
        type(getattr(function, "__self__", inner)).__module__,
        type(inner).__module__,
    }


@contextlib.contextmanager
def _by_value(modules: Iterable[str]) -> Iterator[None]:
    """Have cloudpickle take the code of these modules along, those of them that are the user's own.

    Its registry is one for all threads, and the user may have entries of his own there.
    """
    with _registering:
        ours = _users_among(modules)
        for module in ours:
            if not _registered[module.__name__]:
                cloudpickle.register_pickle_by_value(module)
            _registered[module.__name__] += 1
    try:
        yield
    finally:
        with _registering:
            for module in ours:
                _registered[module.__name__] -= 1
                if not _registered[module.__name__]:
                    cloudpickle.unregister_pickle_by_value(module)


def _users_among(modules: Iterable[str]) -> list[ModuleType]:
    # A package stands for its modules; but one that pytest makes up has no place of its own to judge by.
    names = {name for module in modules for name in (module, module.partition(".")[0])}
    found = {module.__name__: module for module in map(sys.modules.get, names) if module}
    already = cloudpickle.list_registry_pickle_by_value()
    return [
        module
        for name, module in found.items()
        if (name not in already or _registered[name]) and _is_users(module)
    ]


def _is_users(module: ModuleType) -> bool:
    """Whether it is the user's own code, which no image has: not installed, not the interpreter's."""
    if module.__name__.partition(".")[0] in ("smexec", "__main__"):
        return False
    folders = list(getattr(module, "__path__", []))  # a namespace package has no file
    return any(_is_users_file(name) for name in [getattr(module, "__file__", None) or "", *folders])


@functools.lru_cache(maxsize=1024)
def _is_users_file(name: str) -> bool:
    if not name or name.startswith("<frozen"):
        return False
    if "/site-packages/" in name or "/dist-packages/" in name:
        return False
    paths = sysconfig.get_paths()
    return not any(name.startswith(paths[kind] + "/") for kind in ("stdlib", "platstdlib"))


def _culprit(args: Sequence[Any], kwargs: Mapping[str, Any], refer: Refer) -> str:
    """Which argument it is, and what in it, found by trying each alone."""
    parts = [(f"argument {position}", value) for position, value in enumerate(args)]
    parts += [(f"argument {name}=", value) for name, value in kwargs.items()]
    for name, value in parts:
        error = _refusal(value, refer)
        if error is None:
            continue
        named = f"{name} ({type(value).__name__})"
        path, inner = ("", value) if isinstance(error, RecursionError) else _innermost_culprit(value, refer)
        return f"{named}, at {path} ({type(inner).__name__})," if path else named
    return "the arguments"


def _refusal(value: Any, refer: Refer) -> Exception | None:
    try:
        dump_whole(value, refer)
    except Exception as error:
        return error
    return None


def _innermost_culprit(value: Any, refer: Refer) -> tuple[str, Any]:
    """How to get from a value to what in it cannot be pickled, as an expression: ``['model'].lock``."""
    path = ""
    for _ in range(_DEEPEST):
        children = itertools.islice(_children(value), _MOST_CHILDREN)
        step = next(((name, child) for name, child in children if _refusal(child, refer) is not None), None)
        if step is None:
            break
        path, value = path + step[0], step[1]
    return path, value


def _children(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        yield from ((f"[{key!r}]", child) for key, child in value.items())
    elif isinstance(value, list | tuple):
        yield from ((f"[{position}]", child) for position, child in enumerate(value))
    elif isinstance(value, functools.partial):
        yield from _children(value.args)
        yield from _children(value.keywords)
    else:
        attributes = getattr(value, "__dict__", None)
        yield from ((f".{name}", child) for name, child in (attributes or {}).items())
