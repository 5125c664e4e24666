"""How a machine is divided between slots."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional

# What numerical libraries take for the number of their threads, and joblib for that of the CPUs.
_THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "LOKY_MAX_CPU_COUNT",
)
# Has torch.cuda.is_available() ask NVML: a process that has asked CUDA itself cannot use it after a fork.
# Source: PyTorch's documentation, "CUDA environment variables".
_FORK_SAFE_CHECK = "PYTORCH_NVML_BASED_CUDA_CHECK"


class Plan(NamedTuple):
    """The slots of this machine, and what is in their environment.

    :ivar common: for all; what the user has set stays
    :ivar gpus: for each slot the GPUs that it sees; empty: all
    :ivar preload: whether what calls have in common is loaded before slots are forked. Not where each slot
        has GPUs of its own: modules look at those when they are imported
    """

    slots: int
    common: Dict[str, str]
    gpus: List[str]
    preload: bool

    def of(self, slot: int) -> Dict[str, str]:
        """What one slot's environment has besides."""
        return {"CUDA_VISIBLE_DEVICES": self.gpus[slot]} if self.gpus else {}


def make(
    calls: int,
    slots: Optional[int],
    gpus_per_call: int,
    cpus: Optional[int] = None,
    gpus: Optional[int] = None,
) -> Plan:
    """As many slots as CPUs (or as ``slots`` says, or as the GPUs suffice for), and no more than calls.

    Nested parallelism does not oversubscribe: a slot's libraries use its share of the CPUs.

    :param cpus: of this machine; None: look
    :param gpus: the same
    """
    cpus = cpus or _cpus()
    gpus = _gpus() if gpus is None else gpus
    count = slots or cpus
    if gpus_per_call:
        count = min(slots or gpus, gpus // gpus_per_call)
    count = max(1, min(count, calls))
    common = {name: str(max(1, cpus // count)) for name in _THREADS}
    if gpus:
        common[_FORK_SAFE_CHECK] = "1"
    return Plan(count, common, _shares(count, gpus_per_call), preload=not gpus_per_call)


def _shares(count: int, each: int) -> List[str]:
    """GPUs for ``CUDA_VISIBLE_DEVICES``: no two slots have the same."""
    if not each:
        return []
    return [",".join(map(str, range(slot * each, (slot + 1) * each))) for slot in range(count)]


def _cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _gpus() -> int:
    """NVIDIA's devices, as their driver lists them."""
    try:
        return len(list(Path("/proc/driver/nvidia/gpus").iterdir()))
    except OSError:
        return 0
