"""The process that an executor lives in: its end, and its forks."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from smexec.testing import LocalService

PREAMBLE = """
import atexit, os, sys, time
from smexec import SageMakerExecutor
"""


def run(program: str) -> str:
    """What a program prints, once it has ended; it must not complain."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PREAMBLE + textwrap.dedent(program)],
        check=False,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert not done.stderr
    assert done.returncode == 0
    return done.stdout


def test_the_interpreters_end_waits_for_what_was_submitted(smexec_service: LocalService) -> None:
    program = """
        executor = SageMakerExecutor()
        executor.submit(time.sleep, 0.5).add_done_callback(lambda future: print("done", future.result()))
        print("end")
    """
    assert run(program) == "end\ndone None\n"


def test_so_it_does_after_shutdown_without_waiting(smexec_service: LocalService) -> None:
    program = """
        executor = SageMakerExecutor()
        executor.submit(time.sleep, 0.5).add_done_callback(lambda future: print("done", future.result()))
        executor.shutdown(wait=False)
    """
    assert run(program) == "done None\n"


def test_an_unused_executor_and_an_idle_one_hold_nothing_up(smexec_service: LocalService) -> None:
    program = """
        unused, idle = SageMakerExecutor(), SageMakerExecutor()
        print(idle.submit(pow, 2, 3).result())
    """
    assert run(program) == "8\n"


@pytest.mark.parametrize("used", [True, False])
def test_submit_at_the_end_is_an_error(smexec_service: LocalService, used: bool) -> None:
    program = f"""
        @atexit.register
        def late():
            try:
                executor.submit(pow, 2, 3)
            except RuntimeError as error:
                print(error)
        executor = SageMakerExecutor()
        if {used}:
            executor.submit(pow, 2, 3).result()
    """
    assert run(program) == "cannot schedule new futures after interpreter shutdown\n"


def test_a_used_executor_refuses_in_a_forked_child_and_a_new_one_works(smexec_service: LocalService) -> None:
    program = """
        executor = SageMakerExecutor()
        unused = SageMakerExecutor()
        future = executor.submit(time.sleep, 2)
        while not future.running():  # and nothing is being imported, whose lock a child would inherit
            time.sleep(0.01)
        sys.stdout.flush()
        if sys.version_info >= (3, 12):
            import warnings
            warnings.simplefilter("ignore", DeprecationWarning)  # forking beside threads is what we do here
        pid = os.fork()
        if not pid:
            for attempt in (lambda: executor.submit(pow, 2, 3), future.result, future.exception):
                try:
                    attempt()
                except RuntimeError as error:
                    print("create a new SageMakerExecutor" in str(error))
            executor.shutdown()
            print(unused.submit(pow, 2, 3).result())
            with SageMakerExecutor() as another:
                print(another.submit(pow, 2, 4).result())
            print(unused.run_id != another.run_id != executor.run_id)
            sys.exit()
        print(os.waitpid(pid, 0)[1], future.result())
    """
    assert run(program) == "True\nTrue\nTrue\n8\n16\nTrue\n0 None\n"


def test_import_is_cheap() -> None:
    program = """
        import subprocess
        code = "import sys, smexec; print(*{name.partition('.')[0] for name in sys.modules})"
        loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.split()
        heavy = {"aiobotocore", "aioboto3", "aiohttp", "boto3", "botocore", "moto", "asyncio", "anyio"}
        print(sorted(heavy & set(loaded)))
    """
    assert run(program) == "[]\n"
