"""Waiting in async code, under asyncio or trio, for what another thread will say."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import sys
from collections.abc import Callable
from typing import Any

Said = Callable[[], None]


async def until(register: Callable[[Said], None]) -> None:
    """Wait for somebody, on whatever thread, to call what ``register`` is given.

    :raises RuntimeError: no event loop runs here
    """
    import anyio

    call_soon = _caller_of_this_loop()
    event = anyio.Event()

    def said() -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended, and nobody waits any more
            call_soon(event.set)

    register(said)
    await event.wait()


async def ended(future: concurrent.futures.Future[Any]) -> None:
    """Wait until it is done. Who is cancelled meanwhile has not cancelled it."""
    await until(lambda said: future.add_done_callback(lambda _: said()))


def in_async_code() -> bool:
    """Whether an event loop runs on this thread, which then must not be kept waiting."""
    return in_trio() or asyncio._get_running_loop() is not None  # noqa: SLF001  # the other one raises


def in_trio() -> bool:
    """Whether that loop is trio's. Where nobody has imported trio, it is not."""
    trio: Any = sys.modules.get("trio")
    return trio is not None and bool(trio.lowlevel.in_trio_run())


def _caller_of_this_loop() -> Callable[[Said], object]:
    """What has the loop of this thread call something, from any other."""
    if in_trio():
        run_soon: Callable[[Said], object] = sys.modules["trio"].lowlevel.current_trio_token().run_sync_soon
        return run_soon
    return asyncio.get_running_loop().call_soon_threadsafe
