"""Executors for CPython's suite, which constructs them with nothing but ``max_workers``."""

from __future__ import annotations

import concurrent.futures
import sys
from collections.abc import Callable
from typing import Any

from smexec import Future, SageMakerExecutor


class LocalExecutor(SageMakerExecutor):
    """Jobs on the local service; `mp_context`, which the suite gives to process pools, means nothing here."""

    def __init__(self, max_workers: int | None = None, mp_context: object = None) -> None:
        super().__init__(max_workers, instance_type="local")


class EchoingExecutor(LocalExecutor):
    """What a call prints comes out here, not in the job's log: some tests look for it in a child's stdout."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:  # type: ignore[override]
        def recorded() -> str:
            import contextlib
            import io

            with contextlib.redirect_stdout(io.StringIO()) as stdout:
                fn(*args, **kwargs)
            return stdout.getvalue()

        future = super().submit(recorded)
        future.add_done_callback(_print)
        return future


def _print(future: concurrent.futures.Future[str]) -> None:
    if not future.cancelled():
        sys.stdout.write(future.result())
