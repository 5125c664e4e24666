"""How many calls run at a time, on how many machines: what joblib's ``n_jobs`` comes to."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Fleet:
    """Jobs, each with slots.

    :ivar jobs: how many may be in flight
    :ivar slots: calls at a time in each
    :ivar grows: whether there may be more jobs, if that many calls at a time are asked for
    """

    jobs: int
    slots: int
    grows: bool = False

    @property
    def width(self) -> int:
        """Calls at a time."""
        return self.jobs * self.slots

    def at_a_time(self, n_jobs: int | None) -> int:
        """How many calls ``n_jobs`` means, as joblib counts: -1 (and None) is all there is, -2 all but one.

        :raises ValueError: it is 0
        """
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        if n_jobs is None or n_jobs < 0:
            return max(1, self.width + 1 + (-1 if n_jobs is None else n_jobs))
        return n_jobs if self.grows else min(n_jobs, self.width)

    def part(self, calls: int) -> Fleet:
        """What suffices for so many calls at a time: the fewest jobs, with as many slots in each."""
        jobs = -(-calls // self.slots)
        return Fleet(jobs, -(-calls // jobs))


def vcpus(instance_type: str) -> int:
    """How many a machine has, guessed from its size, which tells it for nearly every family."""
    size = instance_type.rpartition(".")[2]
    if size.endswith("xlarge"):
        return 4 * int(size.removesuffix("xlarge") or 1)
    return 2
