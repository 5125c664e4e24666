"""A large array to a job and back; or the same bytes with plain boto3. Prints JSON."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

Array = Any


def take(array: Array) -> tuple[float, int]:
    """The call that an array goes to: when it began, and the array's last element."""
    return time.time(), int(array[-1])


def give(count: int) -> tuple[Array, float]:
    """The call that an array comes from, and when it was made."""
    return np.arange(count), time.time()


def goes(executor: Any, count: int) -> dict[str, Any]:
    """Submit with an array."""
    array = np.arange(count)
    before = resident() - array.nbytes
    asked = time.time()
    future = executor.submit(take, array)
    began, last = future.result()
    assert last == count - 1
    return {"asked": asked, "seconds": began - asked, "job": future.job_name, "before": before}


def comes(executor: Any, count: int) -> dict[str, Any]:
    """Submit for an array."""
    before = resident()
    array, ended = executor.submit(give, count).result()
    done = time.time()
    assert array[-1] == count - 1
    return {"seconds": done - ended, "before": before}


def plain(count: int) -> dict[str, Any]:
    """What boto3 takes for a file with the same bytes."""
    import boto3

    path, again = Path("array"), Path("again")
    np.arange(count).tofile(path)
    client = boto3.client("s3")
    start = time.time()
    client.upload_file(str(path), os.environ["BUCKET"], "array")
    middle = time.time()
    client.download_file(os.environ["BUCKET"], "array", str(again))
    end = time.time()
    assert path.stat().st_size == again.stat().st_size
    return {"up": middle - start, "down": end - middle, "before": 0.0}


def smexec(way: str, count: int) -> dict[str, Any]:
    """One of the two ways, after a call that has everything imported."""
    from smexec import SageMakerExecutor

    with SageMakerExecutor(1, instance_type="ml.m5.large", image_uri="python:local") as executor:
        executor.submit(abs, -1).result()
        return {"goes": goes, "comes": comes}[way](executor, count)


def resident() -> float:
    """Bytes."""
    return float(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def peak() -> float:
    """Bytes."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) * 1024


if __name__ == "__main__":
    way, size = sys.argv[1].split()
    count = int(size) // np.arange(1).itemsize
    figures = plain(count) if way == "plain" else smexec(way, count)
    print(json.dumps({**figures, "memory": peak()}))
