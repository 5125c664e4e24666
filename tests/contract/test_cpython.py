"""``test.test_concurrent_futures`` on a SageMakerExecutor: a class of theirs, a mixin of ours."""

from __future__ import annotations

import unittest
from pathlib import Path
from typing import Any

import pytest
from executors import EchoingExecutor, LocalExecutor

from smexec.errors import CallEnded, ResultNotPicklable, SerializationError, SmexecError

pytest.importorskip("test.test_concurrent_futures.util", reason="this Python was installed without its tests")

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


def applicable(case: type[Any]) -> type[Any]:
    """Their class, with what does not apply skipped, and its reason said."""
    reasons = NOT_APPLICABLE.get(case.__name__, {})
    skipped = {name: unittest.skip(reason)(getattr(case, name)) for name, reason in reasons.items()}
    return type(case.__name__, (case,), skipped)


class TestExecutor(SageMakerMixin, applicable(executor.ExecutorTest), util.BaseTestCase):
    pass


class TestWait(SageMakerMixin, applicable(test_wait.WaitTests), util.BaseTestCase):
    pass


class TestAsCompleted(SageMakerMixin, applicable(test_as_completed.AsCompletedTests), util.BaseTestCase):
    pass


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
