"""Calls on the command line: printed as they end, stopped by Ctrl-C."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import as_completed
from types import FrameType
from typing import TYPE_CHECKING, Any

import typer

from smexec.cli import options

if TYPE_CHECKING:
    from smexec.executor import SageMakerExecutor
    from smexec.future import Future
    from smexec.program import Program

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_INTERRUPTED = 130  # the exit code that shells give it


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Ctrl-C and SIGTERM raise KeyboardInterrupt, which cleans up; a second one ends the process."""
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    heeded = [number for number in _SIGNALS if before[number] is not signal.SIG_IGN]  # not so under nohup

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        for number in heeded:
            signal.signal(number, signal.SIG_DFL)
        raise KeyboardInterrupt

    for number in heeded:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number in heeded:
            signal.signal(number, before[number])


def run(executor: SageMakerExecutor, program: Program[Any], calls: Iterable[tuple[Any, ...]]) -> None:
    """A job for each call. What they have left is printed as they end; if interrupted, they are stopped.

    :raises typer.Exit: there was an error, or an interrupt
    """
    futures: list[Future[Any]] = []
    with interruptible(), executor:
        try:
            futures.extend(executor.submit(program, *call) for call in calls)
            options.report(future.exception() or future.result() for future in as_completed(futures))
        except KeyboardInterrupt:
            _stop([future for future in futures if not future.done()])
            raise typer.Exit(_INTERRUPTED) from None


def _stop(futures: Sequence[Future[Any]]) -> None:
    left = f"{len(futures)} of the jobs"
    typer.echo(f"smexec: stopping {left}; interrupt again to leave them as they are", err=True)
    for future in futures:
        future.stop()
