"""``test.test_concurrent_futures`` on a SageMakerExecutor: a class of theirs, a mixin of ours."""

from __future__ import annotations

import gc
import signal
import sys
import time
import unittest
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from executors import EchoingExecutor, LocalExecutor

from smexec.engine import landing
from smexec.errors import CallEnded, ResultNotPicklable, SerializationError, SmexecError

pytest.importorskip("test.test_concurrent_futures.util", reason="this Python was installed without its tests")

from test import support
from test.test_concurrent_futures import (
    executor,
    test_as_completed,
    test_deadlock,
    test_shutdown,
    test_wait,
    util,
)

# What does not apply to an executor whose workers are on other machines, and why.
NOT_APPLICABLE = {
    "ExecutorTest": {
        "test_map_timeout": (
            "wants two calls' results within five seconds, which a busy machine may take to start jobs. "
            "See tests/contract/test_restated.py"
        ),
    },
    "WaitTests": {
        "test_first_exception": (
            "wants calls to end in the order of their sleeps, whenever each of their jobs has started. "
            "See tests/contract/test_restated.py"
        ),
    },
    "ExecutorShutdownTest": {
        "test_cancel_futures": (
            "wants a call to have started at once, in a thread that waits; here the shutdown comes before "
            "any has started in a container, and all are cancelled. See tests/contract/test_restated.py"
        ),
    },
    "ExecutorDeadlockTest": {
        "test_error_at_task_pickle": (
            "what cannot be pickled is refused by submit() itself, before anything is paid for; "
            "here it is the future's exception. See tests/contract/test_restated.py"
        ),
        "test_shutdown_deadlock_pickle": "joins a process pool's own manager thread, after the same refusal",
        "test_gh105829_should_not_deadlock_if_wakeup_pipe_full": "replaces a process pool's own wakeup pipe",
    },
}


class SageMakerMixin(util.ExecutorMixin):
    """Theirs, with our executor."""

    executor_type: type[LocalExecutor] = LocalExecutor
    worker_count = 5

    def get_context(self) -> None:
        """No start method of multiprocessing is involved."""


def is_landing(frame: FrameType | None) -> bool:
    """Whether a thread is in the module that resolves futures."""
    while frame and frame.f_code.co_filename != landing.__file__:
        frame = frame.f_back
    return frame is not None


class Lasting:
    """In the place of ``time`` in a module of theirs: a call sleeps until its test has looked, however late.

    :param over: a file that is there once it has
    """

    def __init__(self, over: Path) -> None:
        self.over = over

    def sleep(self, _: float) -> None:
        while not self.over.exists():
            time.sleep(0.01)


class SleepersMixin(SageMakerMixin):
    """For tests that look at what sleeps."""

    theirs: Any
    ends_by_itself: tuple[str, ...]  # tests that wait for what sleeps

    @pytest.fixture(autouse=True)
    def _sleepers_last(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.over = tmp_path / "over"
        if self._testMethodName not in self.ends_by_itself:
            monkeypatch.setattr(self.theirs, "time", Lasting(self.over))

    def tearDown(self) -> None:
        self.over.touch()
        super().tearDown()


def applicable(case: type[Any]) -> type[Any]:
    """Their class, with what does not apply skipped, and its reason said."""
    reasons = NOT_APPLICABLE.get(case.__name__, {})
    skipped = {name: unittest.skip(reason)(getattr(case, name)) for name, reason in reasons.items()}
    return type(case.__name__, (case,), skipped)


class TestExecutor(SageMakerMixin, applicable(executor.ExecutorTest), util.BaseTestCase):
    @pytest.fixture(autouse=True)
    def _what_was_handed_over_is_let_go(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The thread that has resolved a future may still be on its way back."""

        def gc_collect() -> None:
            while any(map(is_landing, sys._current_frames().values())):
                time.sleep(0.001)
            gc.collect()

        monkeypatch.setattr(support, "gc_collect", gc_collect)


class TestWait(SleepersMixin, applicable(test_wait.WaitTests), util.BaseTestCase):
    theirs = test_wait
    ends_by_itself = ("test_20369",)


class TestAsCompleted(SleepersMixin, applicable(test_as_completed.AsCompletedTests), util.BaseTestCase):
    theirs = test_as_completed
    ends_by_itself = ("test_duplicate_futures",)


class TestShutdown(SageMakerMixin, applicable(test_shutdown.ExecutorShutdownTest), util.BaseTestCase):
    @pytest.fixture(autouse=True)
    def _children_know_our_executor(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Some tests run a program in a child, which imports the executor from ``concurrent.futures``."""
        preamble = (
            f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
            f"import concurrent.futures, executors\n"
            f"concurrent.futures.LocalExecutor = executors.{EchoingExecutor.__name__}\n"
        )
        theirs = test_shutdown.assert_python_ok

        def assert_python_ok(option: str, program: str) -> Any:
            return theirs(option, preamble + program)

        monkeypatch.setattr(test_shutdown, "assert_python_ok", assert_python_ok)

    @pytest.fixture(autouse=True)
    def _a_hang_lasts_for_a_minute(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """They take five seconds for one."""
        alarm = signal.alarm
        monkeypatch.setattr(signal, "alarm", lambda seconds: alarm(12 * seconds))


class TestDeadlock(SageMakerMixin, applicable(test_deadlock.ExecutorDeadlockTest), util.BaseTestCase):
    TIMEOUT = 60

    @pytest.fixture(autouse=True)
    def _errors_have_our_names(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """One broken call is no broken pool here: its own future tells what happened to it."""
        monkeypatch.setattr(test_deadlock, "BrokenProcessPool", SmexecError)
        monkeypatch.setattr(test_deadlock, "PicklingError", SerializationError)

    def _check_crash(self, error: type[BaseException], *args: Any, **options: Any) -> None:
        # A SystemExit that came out of result() would end the client, and not the call that asked for it.
        ours = (CallEnded, ResultNotPicklable) if error is SystemExit else error
        super()._check_crash(ours, *args, **options)


@pytest.mark.parametrize(
    ("case", "name"), [(case, name) for case, names in NOT_APPLICABLE.items() for name in names]
)
def test_what_is_said_not_to_apply_still_exists(case: str, name: str) -> None:
    theirs = (executor, test_as_completed, test_deadlock, test_shutdown, test_wait)
    (holder,) = [module for module in theirs if hasattr(module, case)]
    assert callable(getattr(getattr(holder, case), name))
