"""An event loop that awaits many calls at the same time. Prints what that cost its thread, as JSON."""

from __future__ import annotations

import asyncio
import json
import sys
import time

from smexec import SageMakerExecutor


async def main(count: int) -> dict[str, float]:
    """Seconds of CPU of this thread, and of the clock."""
    async with SageMakerExecutor(
        4, instance_type="ml.m5.large", image_uri="python:local", slots=2, calls_per_job=max(1, count // 4)
    ) as executor:
        assert await executor.submit(abs, -1) == 1  # has everything imported
        start, began = time.monotonic(), time.thread_time()
        futures = [executor.submit(abs, -number) for number in range(count)]
        submitted = time.thread_time()
        assert await asyncio.gather(*futures) == list(range(count))
        ended = time.thread_time()
    return {"submit": submitted - began, "await": ended - submitted, "wall": time.monotonic() - start}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(int(sys.argv[1])))))
