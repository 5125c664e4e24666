"""How long a user waits on this machine: for the import, for the first result, for one call among many.

Every figure is the median of several runs; the range is printed beside it. They say nothing about AWS: there,
launching the machine takes 85–200 s, which is most of any wait.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

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


def report(name: str, unit: str, measure: Callable[[], float], times: int) -> None:
    """Print the median and the range of several measurements."""
    values = [measure() for _ in range(times)]
    middle = statistics.median(values)
    print(f"{name:<48} {middle:>9.2f} {unit:<8} ({min(values):.2f}–{max(values):.2f}, n={times})", flush=True)


def measure_running_service(calls: int, times: int) -> None:
    """What is left of the waiting when a service is there already."""
    from smexec import SageMakerExecutor

    workers = os.cpu_count() or 1
    with SageMakerExecutor(workers, instance_type="local") as executor:
        executor.submit(abs, -1).result()

        def one_call() -> float:
            start = time.perf_counter()
            executor.submit(abs, -1).result()
            return time.perf_counter() - start

        def many_calls() -> float:
            start = time.perf_counter()
            assert list(executor.map(abs, range(calls))) == list(range(calls))
            return calls / (time.perf_counter() - start)

        report("a call, a job of its own: submit to result", "s", one_call, times * 2)
        report(f"{calls} calls, {workers} jobs at a time", "calls/s", many_calls, times)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=20, help="calls of the fan-out")
    parser.add_argument("--times", type=int, default=5, help="measurements of each figure")
    arguments = parser.parse_args()
    machine = f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}"
    print(f"Python {platform.python_version()}, {machine}")
    report("import smexec", "ms", lambda: 1000 * in_a_fresh_interpreter(IMPORT), arguments.times)
    report("nothing running to first result", "s", without_a_service, arguments.times)
    measure_running_service(arguments.calls, arguments.times)


if __name__ == "__main__":
    main()
