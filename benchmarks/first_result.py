"""How long a user waits on this machine: for the import, for the first result, for one call among many.

Every figure is the median of several runs; the range is printed beside it. They say nothing about AWS: there,
launching the machine takes 85–200 s, which is most of any wait.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.setting import Setting
from benchmarks.table import Result, Table

IMPORT = (
    "import time; start = time.perf_counter(); import smexec; print(time.perf_counter() - start, flush=True)"
)
# The service of instance_type="local" is started by the first lease, which is a part of the wait.
COLD = """
import time
start = time.perf_counter()
from smexec import SageMakerExecutor
with SageMakerExecutor(instance_type="local") as executor:
    executor.submit(abs, -1).result()
    print(time.perf_counter() - start, flush=True)
"""


def in_a_fresh_interpreter(program: str, **environment: str) -> float:
    """Seconds that the program prints."""
    command = [sys.executable, "-c", program]
    environment = {**os.environ, **environment}
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return float(done.stdout)


def without_a_service() -> float:
    """Seconds to the first result of a user who has no service running yet."""
    # Services are found in the runtime directory: in an empty one there is none, whoever else has one.
    with tempfile.TemporaryDirectory() as directory:
        runtime = Path(directory, "runtime")
        runtime.mkdir(mode=0o700)
        seconds = in_a_fresh_interpreter(COLD, XDG_RUNTIME_DIR=str(runtime))
        while any(runtime.iterdir()):  # it outlives its last client by a second
            time.sleep(0.05)
    return seconds


def first_result(setting: Setting) -> Result:
    """The wait for the import, for the first result, for one call among many."""
    times = 3 if setting.quick else 5
    table = Table("Waiting, on this machine", ("what", "median", "range", "n"))
    milliseconds = [1000 * in_a_fresh_interpreter(IMPORT) for _ in range(times)]
    _add(table, "import smexec, ms", milliseconds)
    _add(table, "nothing running to first result, s", [without_a_service() for _ in range(times)])
    _measure_running_service(table, times)
    return Result([table])


def _add(table: Table, what: str, values: Sequence[float]) -> None:
    middle = statistics.median(values)
    table.add(what, f"{middle:.2f}", f"{min(values):.2f}–{max(values):.2f}", len(values))


def _measure_running_service(table: Table, times: int) -> None:
    """What is left of the waiting when a service is there already."""
    from smexec import SageMakerExecutor

    with SageMakerExecutor(1, instance_type="local") as executor:
        executor.submit(abs, -1).result()

        def one_call() -> float:
            start = time.perf_counter()
            executor.submit(abs, -1).result()
            return time.perf_counter() - start

        _add(table, "a call, a job of its own: submit to result, s", [one_call() for _ in range(times * 2)])
