"""The worker as a process of its own: every way that a call can end, as its container shows it."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import pickle
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest

from smexec.worker import batch, protocol
from smexec.worker.batch import PackedCall
from tests.worker.conftest import JOB, KEY

HERE = protocol.python_version(sys.version_info)
NO_ARGUMENTS = pickle.dumps(((), {}))


def exit_with(code: Any) -> None:
    sys.exit(code)


def kill_myself(number: int) -> None:
    os.kill(os.getpid(), number)


def fail_with(error: BaseException) -> None:
    raise error


class Awkward(Exception):
    """Pickles, but does not unpickle: its constructor wants more than its args."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__("awkward")


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


class Shutdown(BaseException):
    pass


# -- values and exceptions -----------------------------------------------------------------------------------


def test_a_value(container: Any) -> None:
    ended = container.call(divmod, 17, 5).run()
    assert (ended.code, ended.value, ended.failure) == (0, (3, 2), None)
    assert (ended.stdout, ended.stderr) == ("", "")
    assert ended.outcome["began"] <= ended.outcome["ended"]


def test_keyword_arguments_may_have_any_name(container: Any) -> None:
    def gather(**names: int) -> int:
        return sum(names.values())

    assert container.call(gather, self=1, function=2, header=3).run().value == 6


def test_an_exception_comes_back_with_its_traceback(container: Any) -> None:
    def outer() -> None:
        inner()

    def inner() -> None:
        raise KeyError("missing")

    ended = container.call(outer).run()
    assert ended.code == 1
    assert isinstance(ended.value, KeyError)
    assert ended.value.args == ("missing",)
    assert (ended.outcome["outcome"], ended.outcome["type"]) == ("raised", "KeyError")
    assert ended.failure.startswith("KeyError: 'missing'\nTraceback (most recent call last):")
    frames = ended.outcome["traceback"].count("  File ")
    assert frames == 2  # the user's, none of ours


def test_tracebacks_show_source_lines_that_only_the_client_has(container: Any) -> None:
    source = "def f():\n    return 1 / 0  # the line\n"
    namespace: dict[str, Any] = {}
    exec(compile(source, "/nowhere/notebook.py", "exec"), namespace)
    sources = {"/nowhere/notebook.py": source}
    ended = container.pickled(cloudpickle.dumps(namespace["f"]), NO_ARGUMENTS, sources=sources).run()
    assert "1 / 0  # the line" in ended.outcome["traceback"]


def test_an_exceptions_attributes_and_notes_travel(container: Any) -> None:
    def fail() -> None:
        error = ValueError("v")
        error.__dict__["__notes__"] = ["a note"]
        error.__dict__["limit"] = 3
        raise error from OSError("cause")

    ended = container.call(fail).run()
    assert ended.value.limit == 3
    assert ended.value.__notes__ == ["a note"]
    assert "OSError: cause" in ended.outcome["traceback"]


def test_a_value_that_cannot_be_pickled(container: Any) -> None:
    ended = container.call(threading.Lock).run()
    assert (ended.code, ended.outcome["outcome"]) == (1, "value-unpicklable")
    assert "lock" in ended.outcome["message"]
    assert ended.failure.startswith("TypeError: ")


def test_an_exception_that_cannot_be_pickled(container: Any) -> None:
    def fail() -> None:
        raise RuntimeError("with a lock", threading.Lock())

    ended = container.call(fail).run()
    assert (ended.code, ended.outcome["outcome"]) == (1, "raised-unpicklable")
    assert "with a lock" in ended.outcome["message"]
    assert "lock" in ended.outcome["why"]
    assert "in fail" in ended.outcome["traceback"]


def test_an_exception_that_pickles_but_does_not_unpickle(container: Any) -> None:
    ended = container.call(lambda: fail_with(Awkward(1, 2))).run()
    assert (ended.outcome["outcome"], ended.outcome["type"]) == ("raised-unpicklable", "Awkward")
    assert "TypeError" in ended.outcome["why"]


def test_an_exception_without_words(container: Any) -> None:
    ended = container.call(lambda: fail_with(Unspeakable())).run()
    assert ended.outcome["outcome"] == "raised"
    assert ended.outcome["message"] == "<its str() raised RuntimeError>"


def test_text_that_is_no_unicode(container: Any) -> None:
    """As in the name of a file that is not written in UTF-8."""
    ended = container.call(lambda: fail_with(ValueError(os.fsdecode(b"/no/\xff")))).run()
    assert ended.value.args == ("/no/\udcff",)
    assert ended.failure.startswith("ValueError: /no/\\udcff\n")


def test_a_traceback_without_end(container: Any) -> None:
    def deeper(depth: int) -> int:
        return deeper(depth + 1)

    ended = container.call(deeper, 0).run()
    assert isinstance(ended.value, RecursionError)
    assert len(ended.failure) <= 1024


def test_a_large_message_is_cut_where_it_is_told_and_whole_where_it_is_raised(container: Any) -> None:
    ended = container.call(lambda: fail_with(ValueError("x" * 1_000_000))).run()
    assert len(ended.value.args[0]) == 1_000_000
    assert len(ended.outcome["message"]) == 100_000
    assert len(ended.failure) == 1024


def test_the_runs_key_may_come_by_a_channel(container: Any) -> None:
    key = container.orders.pop(protocol.KEY)
    path = container.opt_ml / "input" / "data" / protocol.KEY_CHANNEL / protocol.KEY_FILE
    path.parent.mkdir(parents=True)
    path.write_text(key)
    assert container.call(abs, -1).run().value == 1


# -- how else a call can end ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "code"),
    [(0, 0), (3, 3), (None, None), ("text", "text"), (Unspeakable(), "<its str() raised RuntimeError>")],
)
def test_sys_exit(container: Any, given: Any, code: Any) -> None:
    ended = container.call(exit_with, given).run()
    assert (ended.code, ended.outcome["outcome"]) == (1, "exited")  # never a success: there is no value
    assert ended.outcome["code"] == code
    assert ended.failure.startswith("SystemExit")


@pytest.mark.parametrize("kind", [KeyboardInterrupt, GeneratorExit, Shutdown])
def test_other_base_exceptions(container: Any, kind: type[BaseException]) -> None:
    ended = container.call(lambda: fail_with(kind("now"))).run()
    assert (ended.code, ended.outcome["outcome"], ended.outcome["type"]) == (1, "interrupted", kind.__name__)


def test_sigint_is_a_keyboard_interrupt(container: Any) -> None:
    ended = container.call(kill_myself, signal.SIGINT).run()
    assert (ended.outcome["outcome"], ended.outcome["type"]) == ("interrupted", "KeyboardInterrupt")


@pytest.mark.parametrize("code", [0, 7])
def test_os_exit(container: Any, code: int) -> None:
    ended = container.call(os._exit, code).run()
    assert (ended.code, ended.outcome["outcome"], ended.outcome["code"]) == (2, "died", code)
    assert f"exit code {code}" in ended.failure


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGUSR1])
def test_signals(container: Any, number: int) -> None:
    ended = container.call(kill_myself, number).run()
    assert (ended.code, ended.outcome["outcome"], ended.outcome["signal"]) == (2, "killed", number)


def test_a_crash_shows_where(container: Any) -> None:
    ended = container.call(kill_myself, signal.SIGSEGV).run()
    assert (ended.code, ended.outcome["signal"]) == (2, signal.SIGSEGV)
    assert "in kill_myself" in ended.stderr  # faulthandler's


def test_a_module_that_the_container_lacks(container: Any, tmp_path: Path) -> None:
    class Absent:
        def __reduce__(self) -> Any:
            return __import__, ("no_such_module.sub",)

    ended = container.call(print, Absent()).run()
    assert (ended.code, ended.outcome["outcome"]) == (1, "missing-module")
    assert ended.outcome["module"] == "no_such_module"


def test_a_call_that_does_not_unpickle(container: Any) -> None:
    class Unreadable:
        def __reduce__(self) -> Any:
            return int, ("no number",)

    ended = container.call(print, Unreadable()).run()
    assert (ended.code, ended.outcome["outcome"], ended.outcome["type"]) == (1, "unreadable", "ValueError")


def test_a_call_that_ends_the_process_while_it_is_unpickled(container: Any) -> None:
    class Fatal:
        def __reduce__(self) -> Any:
            return os._exit, (5,)

    assert container.call(print, Fatal()).run().outcome == {
        "outcome": "died",
        "code": 5,
        "message": "the call's process ended by itself with exit code 5",
    }


# -- what is refused -----------------------------------------------------------------------------------------


def test_another_python_is_refused_before_anything_is_unpickled(container: Any) -> None:
    ended = container.pickled(b"no", b"pickle", python="2.99").run()
    assert (ended.code, ended.outcome["outcome"]) == (3, "python-mismatch")
    assert (ended.outcome["client"], ended.outcome["container"]) == ("2.99", HERE)
    assert ended.failure == f"smexec: Python mismatch: the client runs Python 2.99, the container {HERE}"


@pytest.mark.parametrize(
    "given", [{"key": b"k" * 32}, {"purpose": "batch another-job"}, {"purpose": "events x 0"}]
)
def test_a_batch_that_this_runs_client_did_not_write_for_this_job(container: Any, given: Any) -> None:
    ended = container.pickled(pickle.dumps(print), pickle.dumps((("!",), {})), **given).run()
    assert (ended.code, ended.outcome["outcome"], ended.stdout) == (3, "bad-signature", "")
    assert "signature does not hold" in ended.failure


def test_a_worker_that_was_changed_is_not_started(container: Any) -> None:
    path = container.opt_ml / "input" / "data" / protocol.WORKER_CHANNEL / protocol.WORKER_FILE
    path.write_bytes(path.read_bytes() + b"#")
    ended = container.call(abs, -1).run()
    assert (ended.code, ended.outcome) == (1, None)
    assert "smexec: the worker was changed" in ended.stderr


def test_a_worker_that_fails_says_so_to_the_platform(container: Any) -> None:
    del container.orders[protocol.EVENTS]
    ended = container.call(abs, -1).run()
    assert (ended.code, ended.outcome) == (1, None)
    assert ended.failure.startswith("smexec: the worker failed: KeyError: 'smexec-events'\nTraceback")
    assert "container.py" in ended.stderr


def wait_until(condition: Callable[[], bool]) -> None:
    """For what no file descriptor tells."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# -- stop ----------------------------------------------------------------------------------------------------


def begun(process: subprocess.Popen[str]) -> None:
    """Wait for the call's first line."""
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"


def wait_for_ever() -> None:
    os.write(1, b"begun\n")  # print may be interrupted before it is through
    while True:
        time.sleep(0.01)  # signal.pause would sleep through a signal that comes right before it


def test_sigterm_ends_the_call_and_says_so(container: Any) -> None:
    process = container.call(wait_for_ever).start()
    begun(process)
    process.terminate()
    ended = container.gather(process)
    assert (ended.code, ended.outcome["outcome"]) == (143, "stopped")
    assert ended.failure == "the job was told to stop (SIGTERM)"


def test_the_call_may_use_the_grace_to_save_what_it_has(container: Any) -> None:
    def save_at_the_end() -> None:
        def save(*_: object) -> None:
            os.write(1, b"saved\n")  # print() might still be at its last line
            sys.exit()

        signal.signal(signal.SIGTERM, save)
        wait_for_ever()

    process = container.call(save_at_the_end).start()
    begun(process)
    process.terminate()
    ended = container.gather(process)
    assert (ended.code, ended.outcome["outcome"], ended.stdout) == (143, "stopped", "saved\n")


def test_the_word_goes_out_although_the_call_does_not_listen(container: Any) -> None:
    def ignore() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print(os.getpid())
        signal.pause()

    process = container.call(ignore).start()
    pid = int(process.stdout.readline())
    process.terminate()
    wait_until(lambda: bool(container.news().ended))
    assert process.poll() is None  # the call has its grace
    os.kill(pid, signal.SIGKILL)
    ended = container.gather(process)
    assert (ended.code, ended.outcome["outcome"]) == (143, "stopped")


def test_a_call_that_does_not_listen_is_killed_after_its_grace(container: Any) -> None:
    def ignore() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        wait_for_ever()

    process = container.call(ignore).start(change="monitor.GRACE = 0.05")
    begun(process)
    process.terminate()
    assert container.gather(process).code == 143


def test_sigterm_before_the_call_has_begun(container: Any) -> None:
    container.order()
    orders = container.hyperparameters.read_text()
    container.hyperparameters.unlink()
    os.mkfifo(container.hyperparameters)
    process = container.call(print, "never").start(ordered=False)
    with container.hyperparameters.open(
        "w"
    ) as fifo:  # when this is open the worker reads, and has its handlers
        process.terminate()
        fifo.write(orders)
    ended = container.gather(process)
    assert (ended.code, ended.outcome["outcome"], ended.stdout) == (143, "stopped", "")


# -- the end of the call's process ---------------------------------------------------------------------------


def test_atexit_handlers_and_threads_run_to_their_end(container: Any) -> None:
    def leave_some() -> str:
        ready = threading.Event()

        def late() -> None:
            ready.wait()
            print("thread")

        threading.Thread(target=late).start()
        atexit.register(print, "atexit")
        ready.set()
        return "value"

    ended = container.call(leave_some).run()
    assert (ended.code, ended.value) == (0, "value")
    assert ended.stdout == "thread\natexit\n"


def test_an_atexit_handler_that_fails_changes_nothing(container: Any) -> None:
    def leave_a_trap() -> int:
        atexit.register(divmod, 1, 0)
        return 1

    ended = container.call(leave_a_trap).run()
    assert (ended.code, ended.value) == (0, 1)
    assert "ZeroDivisionError" in ended.stderr


def test_a_thread_that_never_ends_holds_the_job_only_for_a_while(container: Any) -> None:
    def leave_a_thread() -> int:
        threading.Thread(target=threading.Event().wait).start()
        return 1

    ended = container.call(leave_a_thread).run(change="monitor.LINGER = 0.05")
    assert (ended.code, ended.value) == (0, 1)


def gone(pid: int) -> bool:
    """Whether a process has ended; one that nobody has waited for yet counts as ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):  # the latter if it ends between open and read
        return True


@pytest.mark.parametrize("end", [abs, os._exit])
def test_what_the_call_started_ends_with_it(container: Any, end: Callable[[int], Any]) -> None:
    def leave_a_process() -> None:
        child = subprocess.Popen(["sleep", "1000"])
        child.returncode = 0  # or Popen would complain that it is still running
        print(child.pid)
        end(1)

    ended = container.call(leave_a_process).run()
    pid = int(ended.stdout)
    wait_until(lambda: gone(pid))


PR_SET_CHILD_SUBREAPER = 36


def as_pid_1() -> None:
    """Inherit orphans, as PID 1 of a container does."""
    import ctypes

    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has subreapers")
def test_orphans_are_reaped(container: Any) -> None:
    def leave_an_orphan() -> None:
        shell = subprocess.run(["sh", "-c", "true & echo $!"], stdout=subprocess.PIPE, check=True)
        orphan = Path(f"/proc/{int(shell.stdout)}")
        wait_until(lambda: not orphan.exists())

    assert container.call(leave_an_orphan).run(preexec_fn=as_pid_1).code == 0


# -- what the call finds -------------------------------------------------------------------------------------


def test_stdout_is_the_users(container: Any) -> None:
    def write() -> None:
        print("printed")
        os.write(1, b"written\n")
        subprocess.run(["echo", "run"], check=True)
        print("no end", end="")

    assert container.call(write).run().stdout == "printed\nwritten\nrun\nno end"


def test_what_was_printed_before_a_sudden_end_is_there(container: Any) -> None:
    def vanish() -> None:
        print("to stdout")
        print("to stderr", file=sys.stderr)
        os._exit(7)

    ended = container.call(vanish).run()
    assert (ended.stdout, ended.stderr) == ("to stdout\n", "to stderr\n")


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_a_call_may_close_its_streams(container: Any, name: str) -> None:
    def close() -> int:
        getattr(sys, name).close()
        return 1

    ended = container.call(close).run()
    assert (ended.code, ended.value) == (0, 1)


def test_a_call_may_put_anything_in_the_place_of_its_streams(container: Any) -> None:
    def replace() -> int:
        sys.stdout = None
        return 1

    assert container.call(replace).run().value == 1


def test_a_call_that_closes_every_file_ends_as_dead(container: Any) -> None:
    def daemonize() -> None:
        os.closerange(3, 256)

    ended = container.call(daemonize).run()
    assert (ended.code, ended.outcome["outcome"], ended.outcome["code"]) == (2, "died", 1)
    assert "Bad file descriptor" in ended.stderr


def test_stdin_is_empty(container: Any) -> None:
    process = container.call(os.read, 0, 100).start()
    assert process.stdin is not None
    process.stdin.write("not for the call")
    assert container.gather(process).value == b""


def test_main_is_clean(container: Any) -> None:
    def look() -> tuple[list[str], list[str]]:
        main = sys.modules["__main__"]
        return sorted(name for name in vars(main) if not name.startswith("__")), sys.argv

    assert container.call(look).run().value == ([], [""])


def test_the_environment_is_the_platforms(container: Any) -> None:
    container.environment["GIVEN"] = "value"
    ended = container.call(lambda: (os.environ["GIVEN"], tempfile.gettempdir())).run()
    assert ended.value == ("value", str(container.home))


def test_tmpdir_can_be_set_by_the_call(container: Any, tmp_path: Path) -> None:
    def move(folder: str) -> str:
        os.environ["TMPDIR"] = folder
        return tempfile.gettempdir()

    assert container.call(move, str(tmp_path)).run().value == str(tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has an oom_score_adj")
def test_where_memory_runs_out_the_call_goes_before_the_worker(container: Any) -> None:
    ended = container.call(Path.read_text, Path("/proc/self/oom_score_adj")).run()
    assert ended.value == "1000\n"


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_multiprocessing_works_in_a_call(container: Any, method: str) -> None:
    def pool() -> list[int]:
        with multiprocessing.get_context(method).Pool(1) as pool:
            return pool.map(abs, [-1, -2])

    assert container.call(pool).run().value == [1, 2]


def test_arrays_are_aligned_and_may_be_written_to(container: Any) -> None:
    def change(*arrays: Any) -> list[Any]:
        for array in arrays:
            assert array.flags.aligned
            array[:] = array + 1
        return list(arrays)

    arrays = [np.arange(5, dtype=kind) for kind in ("u1", "f8", "c16", "longdouble", "u1", "i2")]
    ended = container.call(change, *arrays).run()
    assert (ended.code, ended.stderr) == (0, "")
    for returned, array in zip(ended.value, arrays, strict=True):
        np.testing.assert_array_equal(returned, array + 1)
        assert returned.flags.aligned
        returned[:] = 0


# -- other Pythons -------------------------------------------------------------------------------------------


def interpreters() -> Iterator[tuple[str, str]]:
    """Version (``3.8``) and path of every CPython on PATH and under pyenv."""
    found = {f"3.{minor}": shutil.which(f"python3.{minor}") for minor in range(6, 16)}
    root = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
    for python in sorted(root.glob("versions/*/bin/python")):
        found[python.parts[-3].rpartition(".")[0]] = str(python)
    return ((version, path) for version, path in found.items() if path and "pyenv/shims" not in path)


PYTHONS = dict(interpreters()) if platform.python_implementation() == "CPython" else {}
MODERN = [version for version in PYTHONS if version.startswith("3.") and int(version[2:]) >= 8]


@pytest.mark.parametrize("version", MODERN)
def test_the_worker_runs_on_every_python_since_3_8(container: Any, version: str) -> None:
    container.pickled(pickle.dumps(divmod, 4), pickle.dumps(((17, 5), {}), 4), python=version)
    ended = container.run(PYTHONS[version])
    assert (ended.code, ended.value, ended.stderr) == (0, (3, 2), "")


@pytest.mark.parametrize("version", MODERN)
def test_slots_do_so_too(container: Any, version: str) -> None:
    functions = [pickle.dumps(divmod, 4), pickle.dumps(os._exit, 4)]
    arguments = [pickle.dumps(((17, 5), {}), 4), pickle.dumps(((7,), {}), 4)]
    calls = [PackedCall(function, [2 + function]) for function in (0, 1, 0, 1, 0)]
    header = {"python": version, "slots": 2, "timeout": 60.0}
    body = batch.encode(header, calls, [[0], [1]], [*functions, *arguments], {})
    container.envelope(protocol.seal(KEY, protocol.batch_purpose(JOB), body))
    ended = container.run(PYTHONS[version])
    assert ended.kinds == {0: "value", 1: "died", 2: "value", 3: "died", 4: "value"}
    assert (ended.code, ended.stderr) == (2, "")


@pytest.mark.parametrize("version", [version for version in MODERN if version != HERE])
def test_every_other_python_says_so(container: Any, version: str) -> None:
    ended = container.call(abs, -1).run(PYTHONS[version])
    assert (ended.code, ended.outcome["outcome"], ended.stderr) == (3, "python-mismatch", "")
    assert (ended.outcome["client"], ended.outcome["container"]) == (HERE, version)


@pytest.mark.parametrize("version", [version for version in PYTHONS if version not in MODERN])
def test_an_old_python_gets_a_message_and_no_syntax_error(container: Any, version: str) -> None:
    ended = container.call(abs, -1).run(PYTHONS[version])
    assert (ended.code, ended.outcome) == (3, None)
    assert f"the image's python is {version}, and smexec needs 3.8" in ended.failure
    assert ended.stderr == ended.failure + "\n"
