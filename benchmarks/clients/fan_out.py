"""One client of one library: maps a function over many calls and prints what that took, as JSON.

Run by the interpreter that has the library installed, in a process of its own, so that its CPU time and its
memory are the library's. The order is its one argument, in JSON; see :class:`Order`.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Span = tuple[
    float, float
]  # when a call began and ended: seconds since the epoch, of this machine's one clock
Map = Callable[[Callable[[float], Span], Iterable[float]], Iterable[Span]]


@dataclass(frozen=True)
class Order:
    """What to run.

    :ivar library: one of :data:`LIBRARIES`
    :ivar calls: how many
    :ivar shortest, longest: seconds that a call takes; drawn evenly from between them
    :ivar workers: most processes (of the libraries for one machine) or jobs at a time
    :ivar slots: calls that run side by side in a job
    :ivar ordered: results in the order of the calls
    :ivar rounds: how often all of it is done, by one executor
    """

    library: str
    calls: int
    shortest: float
    longest: float
    workers: int
    slots: int = 1
    ordered: bool = True
    rounds: int = 1


def call(seconds: float) -> Span:
    """Take that long, without the CPU: in a fan-out it is another machine's."""
    began = time.time()
    if seconds:
        time.sleep(seconds)
    return began, time.time()


@contextlib.contextmanager
def process_pool(order: Order) -> Iterator[Map]:
    """The standard library's."""
    from concurrent.futures import ProcessPoolExecutor

    with ProcessPoolExecutor(order.workers) as pool:
        yield pool.map


@contextlib.contextmanager
def loky(order: Order) -> Iterator[Map]:
    """Its reusable executor, as joblib uses it."""
    from loky import get_reusable_executor

    executor = get_reusable_executor(max_workers=order.workers)
    yield executor.map
    executor.shutdown()


@contextlib.contextmanager
def joblib(order: Order) -> Iterator[Map]:
    """Batches by itself."""
    from joblib import Parallel, delayed

    def map_(function: Callable[[float], Span], arguments: Iterable[float]) -> Iterable[Span]:
        parallel = Parallel(n_jobs=order.workers, return_as="generator")
        spans: Iterable[Span] = parallel(delayed(function)(argument) for argument in arguments)
        return spans

    yield map_


@contextlib.contextmanager
def dask(order: Order) -> Iterator[Map]:
    """A LocalCluster of processes with a thread each."""
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=order.workers, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        # pure=False: equal arguments are calls of their own.
        yield lambda function, arguments: client.gather(client.map(function, list(arguments), pure=False))


@contextlib.contextmanager
def lithops(order: Order) -> Iterator[Map]:
    """Its localhost backend, with its localhost storage."""
    from lithops import LocalhostExecutor

    with LocalhostExecutor(worker_processes=order.workers, log_level=None) as executor:
        yield lambda function, arguments: executor.get_result(executor.map(function, list(arguments)))


@contextlib.contextmanager
def sagemaker(order: Order) -> Iterator[Map]:
    """The SDK's RemoteExecutor: a job for each call."""
    from sagemaker import Session
    from sagemaker.remote_function import RemoteExecutor

    bucket = os.environ["BUCKET"]
    # Account, bucket and role are given: the SDK would look them up at a host that knows no other endpoint.
    with RemoteExecutor(
        max_parallel_jobs=order.workers,
        sagemaker_session=Session(default_bucket=bucket),
        role=os.environ["SMEXEC_ROLE"],
        image_uri="python:local",
        s3_root_uri=f"s3://{bucket}/rival",
        instance_type="ml.m5.large",
        # In every job it installs itself anew; here it is there already, and there is no index to ask.
        environment_variables={"PIP_NO_INDEX": "1"},
    ) as executor:
        yield lambda function, arguments: executor.map(function, list(arguments))


@contextlib.contextmanager
def smexec(order: Order) -> Iterator[Map]:
    """Batches in jobs with slots."""
    from smexec import SageMakerExecutor

    with SageMakerExecutor(
        order.workers, instance_type="ml.m5.large", image_uri="python:local", slots=order.slots
    ) as executor:
        yield lambda function, arguments: executor.map(function, arguments, ordered=order.ordered)


@contextlib.contextmanager
def smexec_joblib(order: Order) -> Iterator[Map]:
    """The same through joblib."""
    from joblib import Parallel, delayed, parallel_config

    from smexec.joblib import register_sagemaker

    register_sagemaker()

    def map_(function: Callable[[float], Span], arguments: Iterable[float]) -> Iterable[Span]:
        spans: Iterable[Span] = Parallel()(delayed(function)(argument) for argument in arguments)
        return spans

    with parallel_config(
        "sagemaker", n_jobs=order.workers * order.slots, max_workers=order.workers, slots=order.slots,
        instance_type="ml.m5.large", image_uri="python:local",
    ):  # fmt: skip
        yield map_


LIBRARIES = {
    library.__name__: library
    for library in (process_pool, loky, joblib, dask, lithops, sagemaker, smexec, smexec_joblib)
}


def measure(order: Order) -> dict[str, Any]:
    """Run the order.

    :returns: seconds, MiB and counts. ``wall``: from ``map`` to the last result; ``start``: to the first
        call's begin; ``tail``: from the last call's end to the last result; ``latency``: from a call's end to
        its result, over all calls
    """
    draw = random.Random(0)
    lengths = [draw.uniform(order.shortest, order.longest) for _ in range(order.calls)]
    first, last = float("inf"), 0.0
    latencies: list[float] = []
    with LIBRARIES[order.library](order) as map_:
        asked = time.time()
        for _ in range(order.rounds):
            for began, ended in map_(call, lengths):
                latencies.append(time.time() - ended)
                first, last = min(first, began), max(last, ended)
        done = time.time()
    assert len(latencies) == order.calls * order.rounds
    return {
        "wall": done - asked,
        "start": first - asked,
        "tail": done - last,
        "latency": {
            "median": statistics.median(latencies),
            "p99": statistics.quantiles([0.0, *latencies], n=100, method="inclusive")[-1],
            "most": max(latencies),
        },
        **used(),
    }


def used() -> dict[str, float]:
    """CPU seconds of this process since its start, imports included, and its peak memory in MiB."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    # ru_maxrss would be the parent's if that is larger.
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    return {"cpu": usage.ru_utime + usage.ru_stime, "memory": peak / 1024}


if __name__ == "__main__":
    print(json.dumps(measure(Order(**json.loads(sys.argv[1])))))
