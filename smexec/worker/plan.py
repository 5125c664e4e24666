"""How a machine is divided between slots."""

from __future__ import annotations

import os
from typing import Dict, List, NamedTuple, Optional

# What numerical libraries take for the number of their threads.
_THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)


class Plan(NamedTuple):
    """The slots of this machine, and what is in their environment.

    :ivar common: for all; what the user has set stays
    :ivar gpus: for each slot the GPUs that it sees; empty: all
    """

    slots: int
    common: Dict[str, str]
    gpus: List[str]

    def of(self, slot: int) -> Dict[str, str]:
        """What one slot's environment has besides."""
        return {"CUDA_VISIBLE_DEVICES": self.gpus[slot]} if self.gpus else {}


def make(
    calls: int, slots: Optional[int], gpus_per_call: int, cpus: Optional[int] = None, gpus: Optional[int] = None
) -> Plan:
    """As many slots as CPUs (or as ``slots`` says, or as the GPUs suffice for), and no more than calls.

    Nested parallelism does not oversubscribe: a slot's libraries use its share of the CPUs.
    """
    cpus = cpus or _cpus()
    count = slots or cpus
    visible: List[str] = []
    if gpus_per_call:
        there = _gpus() if gpus is None else gpus
        count = max(1, min(slots or there, there // gpus_per_call))
        groups = [range(start, start + gpus_per_call) for start in range(0, count * gpus_per_call, gpus_per_call)]
        visible = [",".join(map(str, group)) for group in groups]
    count = max(1, min(count, calls))
    return Plan(count, {name: str(max(1, cpus // count)) for name in _THREADS}, visible)


def _cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _gpus() -> int:
    """NVIDIA's devices, as their driver lists them."""
    try:
        return len(os.listdir("/proc/driver/nvidia/gpus"))
    except OSError:
        return 0
