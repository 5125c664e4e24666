"""The loop thread: leased by every engine that has work, gone when the last one ends.

Also what must happen at the interpreter's end: wait for what was submitted; and after a fork: forget.
"""

from __future__ import annotations

import asyncio
import concurrent.futures.thread  # registers its own exit hook first, so that ours runs before it
import os
import threading
from collections.abc import Callable
from typing import TypeVar

import anyio
from anyio.from_thread import BlockingPortalProvider

_THREADS = 8
T = TypeVar("T")


class Loop(asyncio.SelectorEventLoop):
    """A loop with all its threads from the beginning.

    Python 3.12 starts no thread any more once the interpreter's end has begun (3.13 does again), and that is
    when the last calls land: on these threads, as do asyncio's own look-ups of names.
    """

    def __init__(self) -> None:
        super().__init__()
        self._threads = concurrent.futures.ThreadPoolExecutor(_THREADS, "smexec")
        started = threading.Barrier(_THREADS + 1)
        for _ in range(_THREADS):
            self._threads.submit(started.wait)
        started.wait()
        self.set_default_executor(self._threads)

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ASYNC109, ARG002
        """End the threads. The standard library's way would start one more for that."""
        self._threads.shutdown()


async def in_thread(work: Callable[[], T]) -> T:
    """Run what may take long, or be the user's, away from the loop, to its end."""
    working = asyncio.get_running_loop().run_in_executor(None, work)
    with anyio.CancelScope(shield=True):
        await asyncio.wait([working])
    return working.result()


def _provider() -> BlockingPortalProvider:
    return BlockingPortalProvider(backend_options={"loop_factory": Loop})


portals = _provider()

_closers: dict[int, Callable[[], None]] = {}
_lock = threading.Lock()
_ending = False


def at_exit(owner: object, close: Callable[[], None]) -> None:
    """Call ``close`` when the interpreter ends, unless :func:`forget` comes first.

    :raises RuntimeError: the interpreter is ending already
    """
    with _lock:
        if _ending:
            raise RuntimeError("cannot schedule new futures after interpreter shutdown")
        _closers[id(owner)] = close


def forget(owner: object) -> None:
    """The owner has ended: nothing is to be done for it at exit."""
    with _lock:
        _closers.pop(id(owner), None)


def ending() -> str | None:
    """The words for it once the interpreter's end has begun; None before."""
    return "interpreter shutdown" if _ending else None


def _close_all() -> None:
    global _ending
    with _lock:
        _ending = True
        closers = list(_closers.values())
    for close in closers:
        close()


def _forget_parent() -> None:
    """In a forked child the loop thread does not exist: engines of the parent are no more ours."""
    global portals, _lock
    _lock = threading.Lock()
    _closers.clear()
    portal = getattr(portals, "_portal", None)
    if portal is not None:
        # Without this the parent's portal, once collected, would wait here for a thread that is not.
        portal._event_loop_thread_id = None  # noqa: SLF001
    portals = _provider()


# Not atexit: that runs when concurrent.futures refuses new work already, which asyncio's loop still needs.
threading._register_atexit(_close_all)  # type: ignore[attr-defined]  # noqa: SLF001
os.register_at_fork(after_in_child=_forget_parent)
