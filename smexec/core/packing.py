"""Packing: which waiting calls become the batch of which job.

Laws (tests hold them for any arrival): no call is lost or packed twice; calls of a kind keep their order; no
batch exceeds its limits or mixes kinds; while a job may be started, no call waits longer than its patience.
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
    :ivar limit: most calls in a batch; None: a job's part of all that are under way
    :ivar linger: seconds without a further call after which those that wait have waited enough
    :ivar patience: the same for the oldest of them, whatever comes; None: as ``linger``
    :ivar slots: how many a job runs at a time: its part is never less
    """

    group: Hashable
    limit: int | None = 1
    linger: float = 0.0
    patience: float | None = None
    slots: int = 1

    def due(self, oldest: float, newest: float) -> float:
        """When calls that came from ``oldest`` to ``newest`` need not wait any more."""
        patience = self.linger if self.patience is None else self.patience
        return min(newest + self.linger, oldest + patience)


@dataclass(frozen=True)
class _Waiting(Generic[T]):
    item: T
    size: int
    since: float


class Packer(Generic[T]):
    """What waits for a job. Its work at each step is that of the batches it gives, not of all that waits."""

    def __init__(self) -> None:
        self._queues: dict[Kind, deque[_Waiting[T]]] = {}
        self._flushed: set[Kind] = set()

    def __bool__(self) -> bool:
        return bool(self._queues)

    def add(self, item: T, kind: Kind, size: int, now: float) -> None:
        """:param size: bytes that travel for it alone"""
        self._queues.setdefault(kind, deque()).append(_Waiting(item, size, now))

    def flush(self, kind: Kind) -> None:
        """No more calls of this kind are on their way: those there are need not wait for others."""
        if kind in self._queues:
            self._flushed.add(kind)

    def take(
        self, now: float, *, part: int = BATCH_CALLS, flush: bool, wanted: Callable[[T], bool]
    ) -> list[T]:
        """The next batch: of the kind that has waited longest among those that need not wait on; or none.

        :param part: a job's part of the calls that are under way, for kinds without a limit
        :param flush: no more calls will come: nobody lingers
        :param wanted: calls of which it is not true are dropped
        """
        ready = [kind for kind in list(self._queues) if self._is_ready(kind, now, flush, wanted)]
        if not ready:
            return []
        kind = min(ready, key=lambda kind: self._queues[kind][0].since)
        return self._fill(kind, max(part, kind.slots) if kind.limit is None else kind.limit, wanted)

    def next_due(self) -> float | None:
        """When a call that waits now will have lingered enough; None if none waits."""
        return min(map(self._due, self._queues), default=None)

    def _due(self, kind: Kind) -> float:
        oldest, newest = self._queues[kind][0].since, self._queues[kind][-1].since
        return oldest if kind in self._flushed else kind.due(oldest, newest)

    def _is_ready(self, kind: Kind, now: float, flush: bool, wanted: Callable[[T], bool]) -> bool:
        queue = self._queues[kind]
        while queue and not wanted(queue[0].item):
            queue.popleft()
        if not queue:
            self._forget(kind)
            return False
        is_full = kind.limit is not None and len(queue) >= kind.limit
        return flush or is_full or self._due(kind) <= now

    def _fill(self, kind: Kind, most: int, wanted: Callable[[T], bool]) -> list[T]:
        queue = self._queues[kind]
        batch: list[T] = []
        size = 0
        while queue and len(batch) < min(most, BATCH_CALLS):
            if batch and size + queue[0].size > BATCH_BYTES:
                break
            waiting = queue.popleft()
            if wanted(waiting.item):
                batch.append(waiting.item)
                size += waiting.size
        if not queue:
            self._forget(kind)
        return batch

    def _forget(self, kind: Kind) -> None:
        del self._queues[kind]
        self._flushed.discard(kind)


def share(calls: int, jobs: int) -> int:
    """How many of the calls that can be seen go into each job, so that all jobs have as much to do."""
    return max(1, -(-calls // jobs))
