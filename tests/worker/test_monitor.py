"""Batches in a worker's own process: whatever one call does, the others' outcomes are as if it had not."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ONE_BY_ONE = "post.SOONEST = 0"
LINUX = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="Linux has such memory")


def wait_until(condition: Callable[[], bool]) -> None:
    """For what no file descriptor tells."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def square(x: int) -> int:
    return x * x


def kill(number: int) -> None:
    os.kill(os.getpid(), number)


def value(x: Any) -> Any:
    return x


def die(kind: str) -> Any:
    if kind == "exits":
        os._exit(7)
    if kind == "is killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "crashes":
        os.kill(os.getpid(), signal.SIGABRT)
    if kind == "raises":
        raise ValueError(kind)
    if kind == "leaves":
        sys.exit(3)
    if kind == "hangs":
        threading.Event().wait()
    return os.getpid()


def meet(folder: Path, others: int) -> int:
    """Return once so many calls run at the same time."""
    (folder / str(os.getpid())).touch()
    wait_until(lambda: len(list(folder.iterdir())) >= others)
    return os.getpid()


# -- calls and slots -----------------------------------------------------------------------------------------


def test_every_call_has_its_value(container: Any) -> None:
    ended = container.map(square, range(50), slots=3).run()
    assert (ended.code, ended.failure, ended.stderr) == (0, None, "")
    assert ended.values == {x: x * x for x in range(50)}
    assert sorted(ended.news.started) == list(range(50))


def test_thousands_of_tiny_calls(container: Any) -> None:
    ended = container.map(square, range(3000), slots=2).run()
    assert ended.values == {x: x * x for x in range(3000)}


def test_so_many_run_at_a_time(container: Any, tmp_path: Path) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    ended = container.calls([(meet, (folder, 3), {})] * 9, slots=3).run()
    assert ended.code == 0
    assert len(set(ended.values.values())) == 3  # slots go on with the next call


def test_different_functions_in_one_batch(container: Any) -> None:
    calls = [(square, (2,), {}), (divmod, (17, 5), {}), (sorted, ([2, 1],), {"reverse": True})]
    assert container.calls(calls, slots=1).run().values == {0: 4, 1: (3, 2), 2: [2, 1]}


def later(path: Path) -> str:
    """A change of the worker's clock: once the file is there, it is much later than before."""
    clock = f"lambda: real() + 1000 * os.path.exists({str(path)!r})"
    return f"import os; real = monitor.time.monotonic; monitor.time.monotonic = {clock}"


@pytest.mark.parametrize("slots", [1, 3])
def test_a_call_ends_alone_and_by_name(container: Any, tmp_path: Path, slots: int) -> None:
    kinds = ["", "exits", "", "is killed", "crashes", "", "raises", "leaves", "", "hangs", "", ""]
    others = 9 if slots == 1 else 11  # that end while one hangs
    process = container.map(die, kinds, slots=slots, timeout=500.0).start(
        change=f"{later(tmp_path / 'late')}; {ONE_BY_ONE}"
    )
    wait_until(lambda: 9 in container.news().started and len(container.news().ended) == others)
    (tmp_path / "late").touch()
    process.send_signal(signal.SIGCHLD)  # or it would sleep for as long as it takes by its old clock
    ended = container.gather(process)
    names = {"": "value", "exits": "died", "is killed": "killed", "crashes": "killed", "raises": "raised",
             "leaves": "exited", "hangs": "timed-out"}  # fmt: skip
    assert ended.kinds == {call: names[kind] for call, kind in enumerate(kinds)}
    signals = {call: told.header.get("signal") for call, told in ended.news.ended.items()}
    assert (signals[3], signals[4]) == (signal.SIGKILL, signal.SIGABRT)
    assert ended.news.ended[9].header["message"] == "the call ran into timeout_per_call=500.0"
    assert ended.code == 2
    assert ended.failure.startswith("6 of 12 calls failed; the first: ")


@pytest.mark.parametrize("timeout", [60.0, 28 * 86400.0])
def test_a_call_that_is_in_time_is_left_alone(container: Any, timeout: float) -> None:
    ended = container.map(square, range(20), slots=2, timeout=timeout).run()
    assert ended.values == {x: x * x for x in range(20)}


# -- what a call does to its process -------------------------------------------------------------------------


def test_what_a_call_changes_about_its_function_is_not_the_next_ones(container: Any) -> None:
    seen: list[int] = []

    def remember(x: int, known: list[int] = []) -> tuple[int, int]:  # noqa: B006
        seen.append(x)
        known.append(x)
        return len(seen), len(known)

    ended = container.map(remember, range(5), slots=1).run()
    assert set(ended.values.values()) == {(1, 1)}


@pytest.mark.parametrize("slots", [1, 3])
def test_a_heavy_function_is_loaded_once_and_anew_for_each_call_all_the_same(
    container: Any, slots: int
) -> None:
    class Model:
        def __init__(self) -> None:
            self.weights = {str(number): number for number in range(100_000)}

        def __setstate__(self, state: dict[str, Any]) -> None:
            print("loaded")
            self.__dict__.update(state)

        def __call__(self, x: int) -> tuple[int, int]:
            self.weights[f"call {x}"] = x
            return x, len(self.weights)

    ended = container.map(Model(), range(8), slots=slots).run()
    assert ended.values == {x: (x, 100_001) for x in range(8)}
    assert ended.stdout == "loaded\n"


class Table:
    """A large argument. Says where it was loaded."""

    def __init__(self) -> None:
        self.rows = {str(number): number for number in range(100_000)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        print("loaded by", os.getpid())
        self.__dict__.update(state)


def change(table: Table, key: str) -> tuple[int, int]:
    table.rows[key] = 0
    return len(table.rows), os.getpid()


@pytest.mark.parametrize("slots", [1, 3])
def test_a_large_argument_of_many_calls_is_loaded_once_and_each_calls_to_change(
    container: Any, slots: int
) -> None:
    table = Table()
    ended = container.calls([(change, (table, f"call {x}"), {}) for x in range(8)], slots=slots).run()
    sizes, processes = zip(*ended.values.values(), strict=True)
    assert set(sizes) == {100_001}
    assert len(set(processes)) == 8
    assert len(ended.stdout.splitlines()) == 1


def test_an_argument_of_one_call_alone_is_loaded_where_it_runs(container: Any) -> None:
    """Or the process that slots are forks of would hold them all at once."""
    table = Table()
    calls: list[Any] = [(change, (each, "new"), {}) for each in (table, Table(), table)]
    ended = container.calls(calls, slots=1).run()
    assert {size for size, _ in ended.values.values()} == {100_001}
    loaded = [int(line.rpartition(" ")[2]) for line in ended.stdout.splitlines()]
    assert [ended.values[call][1] in loaded for call in range(2)] == [False, True]
    assert len(loaded) == 2


def test_slots_with_gpus_of_their_own_load_large_arguments_themselves(container: Any) -> None:
    table = Table()
    calls: list[Any] = [(change, (table, f"call {x}"), {}) for x in range(3)]
    ended = container.calls(calls, slots=1, gpus=1).run()
    assert {size for size, _ in ended.values.values()} == {100_001}
    assert len(ended.stdout.splitlines()) == 3


def test_the_same_argument_twice_is_one_object_and_its_equal_another(container: Any) -> None:
    def compare(one: Any, again: Any, other: Any) -> tuple[bool, bool, bool]:
        return one is again, one is other, one == other

    one, other = list(range(600_000)), list(range(600_000))
    ended = container.calls([(compare, (one, one, other), {})] * 3, slots=1).run()
    assert set(ended.values.values()) == {(True, False, True)}
    assert len(list((container.opt_ml / "input" / "data" / "smexec_shared").iterdir())) == 1


def test_a_thread_that_a_call_of_one_leaves_does_not_keep_the_next_waiting(container: Any) -> None:
    heavy = os.urandom(1_500_000)

    def leave_a_thread(x: int) -> int:
        threading.Thread(target=threading.Event().wait).start()
        return len(heavy) + x

    ended = container.map(leave_a_thread, range(4), slots=1).run(change="monitor.LINGER = 0.05")
    assert ended.values == {x: 1_500_000 + x for x in range(4)}


@pytest.mark.parametrize("size", [1_000, 300_000], ids=["in the batch", "beside it"])
def test_nor_is_what_it_changes_about_large_arrays(container: Any, size: int) -> None:
    inside, given = np.zeros(size), np.ones(size)

    def change(array: Any) -> tuple[float, float]:
        inside[:] += 1
        array[:] += 1
        return float(inside.sum()), float(array.sum())

    ended = container.calls([(change, (given,), {})] * 4, slots=1).run()
    assert set(ended.values.values()) == {(size, 2 * size)}
    shared = container.opt_ml / "input" / "data" / "smexec_shared"
    assert len(list(shared.glob("*"))) == (2 if size > 1_000 else 0)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param("slot.aside._in_file = None", id="memory", marks=LINUX),
        pytest.param("slot.aside._in_memory = None; slot.aside.free_memory = int", id="file"),
    ],
)
def test_large_values_come_by_memory_or_by_a_file(container: Any, change: str) -> None:
    def grown(x: int) -> Any:
        return np.full(5_000_000, x)

    ended = container.map(grown, range(3), slots=2).run(change=change)
    assert {call: value.sum() for call, value in ended.values.items()} == {0: 0, 1: 5e6, 2: 1e7}


def test_a_shared_section_that_was_changed_is_refused(container: Any) -> None:
    container.call(np.sum, np.zeros(300_000))
    (section,) = (container.opt_ml / "input" / "data" / "smexec_shared").iterdir()
    section.write_bytes(b"\1" + section.read_bytes()[1:])
    ended = container.run()
    assert (ended.code, ended.kinds) == (3, {-1: "bad-signature"})
    assert section.name in ended.failure


def test_a_fork_that_a_call_lets_run_on_does_not_answer_for_it(container: Any) -> None:
    def fork() -> str:
        child = os.fork()
        if child == 0:
            return "child"
        os.waitpid(child, 0)
        return "parent"

    ended = container.calls([(fork, (), {})] * 3, slots=1).run()
    assert ended.values == dict.fromkeys(range(3), "parent")


def test_a_process_that_a_call_leaves_behind_keeps_nobody_waiting(container: Any, gate: Path) -> None:
    """It has inherited the link."""

    def leave(how: str) -> None:
        ours, theirs = socket.socketpair()
        if os.fork() == 0:
            if how == "in a session":
                os.setsid()
            theirs.send(b"!")
            if how == "in a session":
                gate.read_text()
            else:
                time.sleep(1000)
            os._exit(0)
        ours.recv(1)
        if how == "dead":
            os._exit(5)

    container.environment["PYTHONWARNINGS"] = "ignore"
    process = container.map(leave, ["alive", "dead", "in a session", "alive"], slots=1).start(
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    assert process.wait(60) == 2
    gate.write_text("")  # nobody but the test ends one that is in a session of its own
    assert container.gather(process).kinds == {0: "value", 1: "died", 2: "value", 3: "value"}


def test_a_call_that_has_hung_up_is_waited_for_in_peace(container: Any) -> None:
    def close_everything_and_go_on() -> None:
        os.closerange(3, 256)
        signal.setitimer(signal.ITIMER_REAL, 0.3)  # ends the process
        signal.pause()

    count = (
        "import select; real = select.poll; turns = []\n"
        "class Counting:\n"
        "    def __init__(self): self.real = real()\n"
        "    def __getattr__(self, name): return getattr(self.real, name)\n"
        "    def poll(self, *args): turns.append(1); return self.real.poll(*args)\n"
        "select.poll = Counting\n"
        "import atexit, os; me = os.getpid()\n"
        "atexit.register(lambda: os.getpid() == me and print(len(turns)))\n"
    )
    ended = container.call(close_everything_and_go_on).run(change=f"exec({count!r})")
    assert (ended.kinds, ended.outcome["signal"]) == ({0: "killed"}, signal.SIGALRM)
    assert int(ended.stdout) < 40


def test_a_slot_that_dies_between_two_calls_costs_none(container: Any) -> None:
    dying = "slot._give_back = lambda *what, real=slot._give_back: (real(*what), os._exit(9))"
    ended = container.map(square, range(120), slots=8).run(change=f"import os; {dying}")
    assert ended.values == {x: x * x for x in range(120)}


def test_slots_that_never_begin_come_to_an_end(container: Any) -> None:
    ended = container.map(square, range(4), slots=2).run(
        change="import os; slot._prepare = lambda: os._exit(9)"
    )
    assert ended.kinds == dict.fromkeys(range(4), "died")


def test_fewer_processes_than_slots(container: Any) -> None:
    refuse = (
        "real = nursery._forked; made = []\n"
        "def forked(signals):\n"
        "    if len(made) == 2: raise OSError(11, 'no more')\n"
        "    made.append(1); return real(signals)\n"
        "nursery._forked = forked"
    )
    ended = container.map(square, range(20), slots=5).run(change=f"exec({refuse!r})")
    assert ended.values == {x: x * x for x in range(20)}


def test_no_process_at_all(container: Any) -> None:
    refuse = "def forked(signals): raise OSError(11, 'no more')\nnursery._forked = forked"
    ended = container.map(square, range(3), slots=2).run(change=f"exec({refuse!r})")
    assert (ended.code, ended.kinds) == (1, {})
    assert "no process can be started for a call: [Errno 11] no more" in ended.failure


def test_more_descriptors_than_select_can_name(container: Any) -> None:
    def open_many() -> None:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
        for _ in range(1100):
            os.set_inheritable(os.dup(2), True)

    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 1200:
        pytest.skip("this system allows no more descriptors than select can name")
    ended = container.map(square, range(10), slots=3).run(preexec_fn=open_many, close_fds=False)
    assert ended.values == {x: x * x for x in range(10)}


def test_no_more_is_started_than_can_leave(container: Any) -> None:
    ended = container.map(bytes, [1_000] * 30, slots=3).run(change="post.MOST = 1500; post.SOONEST = 0")
    assert (ended.code, len(ended.values)) == (0, 30)


# -- modules -------------------------------------------------------------------------------------------------


@pytest.fixture
def module(container: Any, tmp_path: Path) -> Callable[[str], None]:
    """Give the container a module ``installed`` with this source."""
    folder = tmp_path / "site"
    folder.mkdir()
    container.environment["PYTHONPATH"] = str(folder)

    def write(source: str) -> None:
        (folder / "installed.py").write_text("import os, signal, sys, time, threading\n" + source)

    return write


class ByName:
    """A function of a module that only the container has."""

    def __init__(self, name: str, module: str = "installed") -> None:
        self.name, self.module = name, module

    def __call__(self, *args: Any) -> Any:
        raise AssertionError("it is unpickled as what it names")

    def __reduce__(self) -> Any:
        import importlib

        return _attribute, (importlib.import_module, self.module, self.name)


def _attribute(load: Callable[[str], Any], module: str, name: str) -> Any:
    return getattr(load(module), name)


@pytest.mark.parametrize(
    ("crash", "kind", "said"),
    [
        ("os._exit(5)", "died", {"code": 5}),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "killed", {"signal": signal.SIGSEGV}),
        # A child of the import has inherited the nursery's connection, and lives on.
        ("if os.fork() == 0: time.sleep(5); os._exit(0)\nos._exit(6)", "died", {"code": 6}),
    ],
)
def test_a_module_whose_import_crashes_costs_its_own_calls_only(
    container: Any, module: Callable[[str], None], crash: str, kind: str, said: dict[str, int]
) -> None:
    module(f"{crash}\ndef never(): ...")
    calls: list[Any] = [
        (square, (3,), {}),
        (ByName("never"), (), {}),
        (abs, (-1,), {}),
        (ByName("never"), (), {}),
    ]
    ended = container.calls(calls, slots=2).run()
    never = [call for call, how in ended.kinds.items() if how == kind]
    assert ended.kinds == {0: "value", 1: kind, 2: "value", 3: kind}
    assert ended.news.started == [0, 2]
    assert {**ended.news.ended[never[0]].header, **said} == ended.news.ended[never[0]].header
    assert "that loaded the call's function" in ended.failure
    assert ended.code == 2


class ExitsWhenLoaded:
    """Large, and the end of whatever process loads it."""

    def __reduce__(self) -> Any:
        return os._exit, (4,), {"large": os.urandom(1_500_000)}


class MissesWhenLoaded(ExitsWhenLoaded):
    def __reduce__(self) -> Any:
        return __import__, ("smexec_no_such_module",), {"large": os.urandom(1_500_000)}


def test_an_argument_that_cannot_be_loaded_costs_its_own_calls_only(container: Any) -> None:
    exits, misses = ExitsWhenLoaded(), MissesWhenLoaded()
    ended = container.map(value, [exits, 1, misses, exits, misses], slots=2).run()
    assert ended.kinds == {0: "died", 1: "value", 2: "missing-module", 3: "died", 4: "missing-module"}
    assert "that loaded a large argument of the call ended" in ended.news.ended[3].header["message"]
    assert ended.news.ended[4].header["module"] == "smexec_no_such_module"


def test_a_batch_of_which_no_function_can_be_loaded(container: Any, module: Callable[[str], None]) -> None:
    module("os._exit(5)")
    ended = container.calls([(ByName("never"), (), {})] * 5, slots=2).run()
    assert ended.kinds == dict.fromkeys(range(5), "died")


def test_a_module_whose_import_fails_is_its_calls_outcome(
    container: Any, module: Callable[[str], None]
) -> None:
    module("sys.exit('not here')")
    ended = container.calls([(ByName("never"), (), {}), (abs, (-1,), {})], slots=2).run()
    assert ended.kinds == {0: "unreadable", 1: "value"}
    assert ended.news.ended[0].header["message"] == "not here"


def test_modules_are_imported_once(container: Any, module: Callable[[str], None]) -> None:
    module("print('imported')\ndef pid(x): return os.getpid()")
    ended = container.map(ByName("pid"), range(20), slots=3).run()
    assert (ended.code, ended.stdout) == (0, "imported\n")


def test_a_line_that_an_import_begins_is_printed_once(container: Any, module: Callable[[str], None]) -> None:
    module("print('begun', end='')\ndef say(x): print(' by', x)")
    ended = container.map(ByName("say"), ["one"], slots=1).run()
    assert ended.stdout == "begun by one\n"


def test_a_module_may_put_anything_in_the_place_of_stdout(
    container: Any, module: Callable[[str], None]
) -> None:
    module("class Null:\n    def write(self, text): ...\nsys.stdout = Null()\ndef say(x): print(x); return x")
    assert container.map(ByName("say"), [1, 2], slots=1).run().values == {0: 1, 1: 2}


def test_a_modules_own_handlers_stay(container: Any, module: Callable[[str], None]) -> None:
    module(
        "def on_terminate(*_): os.write(1, b'saved\\n'); sys.exit()\n"
        "signal.signal(signal.SIGTERM, on_terminate)\n"
        "def wait():\n"
        "    os.write(1, b'begun\\n')\n"
        "    while True: time.sleep(0.01)"  # signal.pause would sleep through what comes right before it
    )
    process = container.call(ByName("wait")).start()
    assert process.stdout.readline() == "begun\n"
    process.terminate()
    ended = container.gather(process)
    assert (ended.code, ended.stdout) == (143, "saved\n")


def test_forks_draw_different_numbers(container: Any, tmp_path: Path) -> None:
    folder = tmp_path / "here"
    folder.mkdir()

    def draw() -> tuple[float, float]:
        import random

        meet(folder, 3)  # in as many slots
        return random.random(), float(np.random.random())  # noqa: NPY002

    ended = container.calls([(draw, (), {})] * 3, slots=3).run()
    own, numpys = zip(*ended.values.values(), strict=True)
    assert (len(set(own)), len(set(numpys))) == (3, 3)


def test_a_generator_that_the_user_has_seeded_is_left_alone(
    container: Any, module: Callable[[str], None]
) -> None:
    module("import numpy\nnumpy.random.seed(42)\ndef draw(): return numpy.random.random()")
    expected = np.random.RandomState(42).random_sample()
    assert container.call(ByName("draw")).run().value == expected


# -- what slots find -----------------------------------------------------------------------------------------

THREADS = ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"]


def test_libraries_have_their_share_of_the_cpus(container: Any) -> None:
    container.environment["MKL_NUM_THREADS"] = "77"

    def look() -> list[str]:
        return [os.environ[name] for name in THREADS]

    cpus = len(os.sched_getaffinity(0))
    (found,) = {
        tuple(value) for value in container.calls([(look, (), {})] * 4, slots=2).run().values.values()
    }
    share = str(max(1, cpus // 2))
    assert found == (share, share, "77", share)


def test_gpus_are_divided(container: Any, tmp_path: Path) -> None:
    folder = tmp_path / "here"
    folder.mkdir()

    def look() -> str:
        meet(folder, 2)
        return os.environ["CUDA_VISIBLE_DEVICES"]

    ended = container.calls([(look, (), {})] * 2, gpus=2).run(change="job.plan._gpus = lambda: 4")
    assert set(ended.values.values()) == {"0,1", "2,3"}


def test_where_gpus_are_divided_each_slot_imports_for_itself(
    container: Any, module: Callable[[str], None]
) -> None:
    module("DEVICES = os.environ['CUDA_VISIBLE_DEVICES']\ndef look(): return DEVICES")
    ended = container.calls([(ByName("look"), (), {})], gpus=1).run(change="job.plan._gpus = lambda: 1")
    assert ended.values == {0: "0"}


# -- stop ----------------------------------------------------------------------------------------------------


def test_sigterm_stops_what_runs_and_what_waits(container: Any) -> None:
    def wait(call: int) -> int:
        if call > 1:
            print("begun")
            signal.pause()
        return call

    process = container.map(wait, range(9), slots=2).start(change=ONE_BY_ONE)
    assert [process.stdout.readline() for _ in range(2)] == ["begun\n"] * 2
    process.terminate()
    ended = container.gather(process)
    assert ended.code == 143
    assert ended.kinds == {0: "value", 1: "value", -1: "stopped"}
    assert sorted(ended.news.started) == [0, 1, 2, 3]
    assert ended.stdout == ""
    assert ended.failure == "7 of 9 calls failed; the first: the job was told to stop (SIGTERM)"


def test_sigterm_while_modules_are_imported(container: Any, module: Callable[[str], None]) -> None:
    module("print('importing'); threading.Event().wait()")
    process = container.call(ByName("never")).start()
    assert process.stdout.readline() == "importing\n"
    process.terminate()
    ended = container.gather(process)
    assert (ended.code, ended.kinds, ended.news.started) == (143, {-1: "stopped"}, [])


def test_sigterm_to_the_whole_group(container: Any, module: Callable[[str], None]) -> None:
    """As from a terminal, or from an engine that asks everybody."""
    module("print('importing'); threading.Event().wait()")
    process = container.call(ByName("never")).start(start_new_session=True)
    assert process.stdout.readline() == "importing\n"
    assert os.getpgid(process.pid) == process.pid  # the session is its own: nobody else is asked
    os.killpg(process.pid, signal.SIGTERM)
    ended = container.gather(process)
    assert (ended.code, ended.kinds) == (143, {-1: "stopped"})


def test_the_end_of_the_nursery_is_the_end_of_its_calls(container: Any) -> None:
    def kill_the_nursery(x: int) -> int:
        if x == 2:
            nursery = os.getppid()
            assert nursery > 1
            os.kill(nursery, signal.SIGKILL)
            signal.pause()
        return x

    ended = container.map(kill_the_nursery, range(6), slots=1).run(change=ONE_BY_ONE)
    assert ended.kinds == {0: "value", 1: "value", **dict.fromkeys(range(2, 6), "killed")}
    assert "the process that slots are forked from was killed by signal 9" in ended.failure


def test_a_slot_that_comes_late_does_not_hold_the_end_up(container: Any) -> None:
    """The other slot has run every call by then."""
    late = (
        "real = monitor.Monitor._slot_born; kept = []\n"
        "def born(self, link):\n"
        "    if link.number == 1 and not self._dismissed: kept.append(link)\n"
        "    else: real(self, link)\n"
        "done = monitor.Monitor.dismiss\n"
        "def dismiss(self):\n"
        "    until = monitor.time.monotonic() + 60\n"
        "    while not kept and monitor.time.monotonic() < until: self._wait(until)\n"
        "    self._dismissed = True; real(self, kept.pop()); done(self)\n"
        "monitor.Monitor._slot_born, monitor.Monitor.dismiss = born, dismiss\n"
        "monitor.LINGER = 1000\n"
    )
    ended = container.map(square, range(2), slots=2).run(change=f"exec({late!r})")
    assert ended.values == {0: 0, 1: 1}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has subreapers")
def test_orphans_that_end_later_are_reaped(container: Any) -> None:
    """As PID 1 the worker inherits them; none must stay a zombie while the job goes on."""

    def as_pid_1() -> None:
        import ctypes

        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER

    def leave_an_orphan() -> None:
        ours, theirs = socket.socketpair()
        if os.fork() == 0:
            if os.fork() == 0:
                ours.close()
                theirs.send(str(os.getpid()).encode())
                theirs.recv(1)  # until the call says so
                os._exit(0)
            os._exit(0)
        orphan = Path("/proc") / ours.recv(10).decode()
        os.wait()  # for its parent
        ours.send(b"!")
        wait_until(lambda: not orphan.exists())

    assert container.call(leave_an_orphan).run(preexec_fn=as_pid_1).code == 0
