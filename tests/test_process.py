"""The process that an executor lives in: its end, and its forks."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from smexec.testing import LocalService

PREAMBLE = """
import atexit, os, sys, time
from pathlib import Path
from smexec import SageMakerExecutor
gate = Path(*sys.argv[1:])
"""


def run(program: str, gate: Path | None = None) -> str:
    """What a program prints, once it has ended; it must not complain.

    :param gate: to be opened when it has printed its first line
    """
    command = [sys.executable, "-W", "error", "-c", PREAMBLE + textwrap.dedent(program)]
    command += [str(gate)] if gate else []
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, bufsize=0) as process:
        try:
            first = process.stdout.readline() if gate and process.stdout else b""
            if first and gate:
                gate.write_text("well")
            rest, complaints = process.communicate(timeout=100)
        except BaseException:
            process.kill()
            raise
    assert not complaints
    assert process.returncode == 0
    return (first + rest).decode()


def test_the_interpreters_end_waits_for_what_was_submitted(smexec_service: LocalService, gate: Path) -> None:
    program = """
        executor = SageMakerExecutor()
        executor.submit(gate.read_text).add_done_callback(lambda future: print("done", future.result()))
        print("end", flush=True)
    """
    assert run(program, gate) == "end\ndone well\n"


def test_so_it_does_after_shutdown_without_waiting(smexec_service: LocalService, gate: Path) -> None:
    program = """
        executor = SageMakerExecutor()
        executor.submit(gate.read_text).add_done_callback(lambda future: print("done", future.result()))
        executor.shutdown(wait=False)
        print("end", flush=True)
    """
    assert run(program, gate) == "end\ndone well\n"


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


def test_a_used_executor_refuses_in_a_forked_child_and_a_new_one_works(
    smexec_service: LocalService, gate: Path
) -> None:
    program = """
        executor = SageMakerExecutor()
        unused = SageMakerExecutor()
        future = executor.submit(gate.read_text)
        while not future.running():  # and nothing is being imported, whose lock a child would inherit
            time.sleep(0.01)
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
        print(os.waitpid(pid, 0)[1], flush=True)
        print(future.result())
    """
    assert run(program, gate) == "True\nTrue\nTrue\n8\n16\nTrue\n0\nwell\n"


def test_no_lock_of_the_parents_holds_up_a_forked_child(smexec_service: LocalService) -> None:
    program = """
        import threading
        from smexec.capture import pickling
        from smexec.engine import landing, place
        held = threading.Event()

        def hold():
            with landing._stating, place._holding, pickling._registering:
                held.set()
                threading.Event().wait()

        threading.Thread(target=hold, daemon=True).start()
        held.wait()
        if sys.version_info >= (3, 12):
            import warnings
            warnings.simplefilter("ignore", DeprecationWarning)  # forking beside threads is what we do here
        pid = os.fork()
        if not pid:
            assert place.hold(False) is None
            assert not place._holding.locked()
            with SageMakerExecutor() as executor:
                print(executor.submit(lambda: 8).result())
            sys.exit()
        print(os.waitpid(pid, 0)[1])
    """
    assert run(program) == "8\n0\n"


def test_import_is_cheap() -> None:
    program = """
        import subprocess
        code = "import sys, smexec; print(*{name.partition('.')[0] for name in sys.modules})"
        loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.split()
        heavy = {"aiobotocore", "aioboto3", "aiohttp", "boto3", "botocore", "moto", "asyncio", "anyio"}
        print(sorted(heavy & set(loaded)))
    """
    assert run(program) == "[]\n"
