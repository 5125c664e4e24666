"""The container as the platform lays it out: the folders of ``/opt/ml``, the job's own settings, memory.

Source: Developer Guide, "How Amazon SageMaker Provides Training Information".
"""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence

from . import protocol

FAILURE_LIMIT = 1024  # characters of the failure file that become FailureReason


class OptMl:
    """Every path of the container that we use."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.hyperparameters = root / "input" / "config" / "hyperparameters.json"
        self.resources = root / "input" / "config" / "resourceconfig.json"
        self.batch = root / "input" / "data" / protocol.BATCH_CHANNEL / protocol.BATCH_FILE
        self.shared = root / "input" / "data" / protocol.SHARED_CHANNEL
        self.values = root / "input" / "data" / protocol.VALUES_CHANNEL
        self.key = root / "input" / "data" / protocol.KEY_CHANNEL / protocol.KEY_FILE
        self.failure = root / "output" / "failure"
        self.output = root / "output" / "data" / protocol.OUTPUT_FOLDER
        self.checkpoints = root / "checkpoints"

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> OptMl:
        """``/opt/ml``, or where the environment says that it is."""
        return cls(Path(environ.get(protocol.OPT_ML_VARIABLE, "/opt/ml")))

    def write_failure(self, text: str) -> None:
        """State what becomes the job's FailureReason.

        Whatever goes wrong here (a disk that the call has filled, say) must not keep the outcome back.
        """
        try:
            self.failure.parent.mkdir(parents=True, exist_ok=True)
            self.failure.write_text(text[:FAILURE_LIMIT], encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            sys.stderr.write("smexec: {} cannot be written: {}\n".format(self.failure, error))


class Hosts(NamedTuple):
    """The instances of this job.

    :ivar names: of all; each instance sees them in the same order
    :ivar position: of this one among them
    :ivar first: where the first can be reached
    """

    names: Sequence[str] = ("algo-1",)
    position: int = 0
    first: str = "algo-1"

    @classmethod
    def read(cls, opt_ml: OptMl, environ: Mapping[str, str]) -> Hosts:
        """As the platform states them."""
        if not opt_ml.resources.exists():
            return cls()
        resources = json.loads(opt_ml.resources.read_text(encoding="utf-8"))
        names: List[str] = sorted(resources["hosts"])
        addresses = json.loads(environ.get(protocol.HOSTS_VARIABLE, "{}"))
        return cls(names, names.index(resources["current_host"]), addresses.get(names[0], names[0]))

    @property
    def size(self) -> int:
        """How many there are."""
        return len(self.names)

    def share(self, calls: Sequence[int]) -> Sequence[int]:
        """Those of the job's calls that this host runs."""
        return calls[self.position :: self.size]

    def number(self, own: int) -> int:
        """Of this host's numbers one that no other host gives."""
        return own * self.size + self.position


class End(NamedTuple):
    """What the platform is told: an exit code, and what becomes FailureReason."""

    code: int
    failure: Optional[str]


class Orders(NamedTuple):
    """What the client told this job, beside the call itself.

    :ivar todo: which calls it is to run, sealed; None: all of its batch
    """

    job: str
    key: bytes
    events: str  # s3://bucket/prefix/
    sse_kms_key: Optional[str]
    isolated: bool
    hosts: Hosts = Hosts()
    todo: Optional[str] = None

    @classmethod
    def read(cls, opt_ml: OptMl, environ: Mapping[str, str]) -> Orders:
        """From the hyperparameters and the platform's environment variables."""
        given: Dict[str, str] = json.loads(opt_ml.hyperparameters.read_text(encoding="utf-8"))
        # With a KMS key the run's key is no parameter but an object that only the role can decrypt.
        key = given[protocol.KEY] if protocol.KEY in given else opt_ml.key.read_text(encoding="ascii")
        return cls(
            job=environ["TRAINING_JOB_NAME"],
            key=bytes.fromhex(key),
            events=given[protocol.EVENTS],
            sse_kms_key=given.get(protocol.SSE_KMS_KEY),
            isolated=given.get(protocol.ISOLATED) == "true",
            hosts=Hosts.read(opt_ml, environ),
            todo=given.get(protocol.TODO),
        )


def oom_kills(cgroups: Path = Path("/sys/fs/cgroup"), mine: Path = Path("/proc/self/cgroup")) -> int:
    """How many processes of this container the kernel has killed for want of memory; 0 if it does not tell.

    Reads cgroup v2's ``memory.events`` or v1's ``memory.oom_control``. Inside a container our group is
    the root of what we see; outside of one it is the path that ``/proc/self/cgroup`` names.
    """
    for folder in _memory_groups(cgroups, mine):
        for name in ("memory.events", "memory.oom_control"):
            try:
                lines = (folder / name).read_text().splitlines()
            except OSError:
                continue
            return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))
    return 0


def free_memory(
    cgroups: Path = Path("/sys/fs/cgroup"),
    mine: Path = Path("/proc/self/cgroup"),
    meminfo: Path = Path("/proc/meminfo"),
) -> int:
    """Bytes that this container may still take, files that the kernel would drop included; 0: unknown."""
    free = [_number(meminfo, "MemAvailable:") * 1024]
    for folder in _memory_groups(cgroups, mine):
        for limit, usage, file_cache in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            most = _number(folder / limit)
            if most:
                used = _number(folder / usage) - _number(folder / "memory.stat", file_cache)
                free.append(max(0, most - used))
    return min(free)


def _number(file: Path, name: str = "") -> int:
    """What the line of that name says, or the first; 0 if there is none, or it says something else."""
    try:
        words = next(line.split() for line in file.read_text().splitlines() if line.startswith(name))
        return int(words[1 if name else 0])
    except (OSError, StopIteration, ValueError, IndexError):
        return 0


def _memory_groups(cgroups: Path, mine: Path) -> List[Path]:
    try:
        lines = [line.split(":", 2) for line in mine.read_text().splitlines()]
    except OSError:
        lines = []
    own = [
        cgroups / ("memory" if controllers else "") / path.lstrip("/")
        for _, controllers, path in lines
        if not controllers or "memory" in controllers.split(",")
    ]
    return [*own, cgroups, cgroups / "memory"]


def offer_to_oom_killer() -> None:
    """Make the kernel prefer this process when memory runs out, so that the worker lives to tell."""
    with contextlib.suppress(OSError):  # not Linux: there the kernel chooses as it likes
        Path("/proc/self/oom_score_adj").write_text("1000")
