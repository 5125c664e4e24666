"""Packing: which waiting calls become the batch of which job.

Laws (tests hold them for any arrival): no call is lost or packed twice; calls of a kind keep their order; no
batch exceeds its limits or mixes kinds; while a job may be started, no call waits longer than its linger.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

#: Limits of a batch: it is downloaded before its first call starts, and listed in one JSON header.
BATCH_BYTES = 512 << 20
BATCH_CALLS = 10_000


@dataclass(frozen=True)
class Kind:
    """Calls of one kind may share a batch.

    :ivar group: tells kinds apart: the settings, the ``map`` that the calls came from
    :ivar limit: most calls in a batch
    :ivar linger: seconds that a call may wait for company
    """

    group: Hashable
    limit: int = 1
    linger: float = 0.0


@dataclass(frozen=True)
class _Waiting(Generic[T]):
    item: T
    size: int
    since: float


class Packer(Generic[T]):
    """What waits for a job. Its work at each step is that of the batches it gives, not of all that waits."""

    def __init__(self) -> None:
        self._queues: dict[Kind, deque[_Waiting[T]]] = {}

    def __bool__(self) -> bool:
        return bool(self._queues)

    def add(self, item: T, kind: Kind, size: int, now: float) -> None:
        """:param size: bytes that travel for it alone"""
        self._queues.setdefault(kind, deque()).append(_Waiting(item, size, now))

    def take(self, now: float, *, flush: bool, wanted: Callable[[T], bool]) -> list[T]:
        """The next batch: of the kind that has waited longest among those that need not wait on; or none.

        :param flush: no more calls will come: nobody lingers
        :param wanted: calls of which it is not true are dropped
        """
        ready = [kind for kind in list(self._queues) if self._is_ready(kind, now, flush, wanted)]
        if not ready:
            return []
        return self._fill(min(ready, key=lambda kind: self._queues[kind][0].since), wanted)

    def next_due(self) -> float | None:
        """When a call that waits now will have lingered enough; None if none waits."""
        due = [queue[0].since + kind.linger for kind, queue in self._queues.items()]
        return min(due, default=None)

    def _is_ready(self, kind: Kind, now: float, flush: bool, wanted: Callable[[T], bool]) -> bool:
        queue = self._queues[kind]
        while queue and not wanted(queue[0].item):
            queue.popleft()
        if not queue:
            del self._queues[kind]
            return False
        return flush or len(queue) >= kind.limit or queue[0].since + kind.linger <= now

    def _fill(self, kind: Kind, wanted: Callable[[T], bool]) -> list[T]:
        queue = self._queues[kind]
        batch: list[T] = []
        size = 0
        while queue and len(batch) < min(kind.limit, BATCH_CALLS):
            if batch and size + queue[0].size > BATCH_BYTES:
                break
            waiting = queue.popleft()
            if wanted(waiting.item):
                batch.append(waiting.item)
                size += waiting.size
        if not queue:
            del self._queues[kind]
        return batch


def share(calls: int, jobs: int) -> int:
    """How many of the calls that can be seen go into each job, so that all jobs have as much to do."""
    return max(1, -(-calls // jobs))
