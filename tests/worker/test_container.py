from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from smexec.worker import protocol
from smexec.worker.container import OptMl, Orders, free_memory, oom_kills

CGROUPS = Path("/sys/fs/cgroup")
OURS = "0::/\n"


def test_where_everything_is() -> None:
    assert OptMl.of({}).root == Path("/opt/ml")
    elsewhere = OptMl.of({"SMEXEC_OPT_ML": "/x"})
    assert elsewhere.hyperparameters == Path("/x/input/config/hyperparameters.json")
    assert elsewhere.batch == Path("/x/input/data/smexec_batch/batch")
    assert elsewhere.shared == Path("/x/input/data/smexec_shared")
    assert elsewhere.failure == Path("/x/output/failure")


def test_the_failure_is_cut_to_what_the_platform_reads(tmp_path: Path) -> None:
    opt_ml = OptMl(tmp_path)
    opt_ml.write_failure("é" * 2000)
    assert opt_ml.failure.read_text(encoding="utf-8") == "é" * 1024


def test_a_failure_that_cannot_be_written_is_no_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    opt_ml = OptMl(tmp_path)
    opt_ml.failure.mkdir(parents=True)
    opt_ml.write_failure("text")
    assert "cannot be written" in capsys.readouterr().err


def orders(tmp_path: Path, **given: str) -> Orders:
    opt_ml = OptMl(tmp_path)
    opt_ml.hyperparameters.parent.mkdir(parents=True)
    opt_ml.hyperparameters.write_text(json.dumps({protocol.EVENTS: "s3://b/e/", **given}))
    return Orders.read(opt_ml, {"TRAINING_JOB_NAME": "job"})


def test_orders_by_hyperparameters(tmp_path: Path) -> None:
    assert orders(tmp_path, **{protocol.KEY: "00ff"}) == Orders(
        "job", b"\0\xff", "s3://b/e/", None, isolated=False
    )


def test_the_key_by_a_channel(tmp_path: Path) -> None:
    path = OptMl(tmp_path).key
    path.parent.mkdir(parents=True)
    path.write_text("00ff")
    given = {protocol.ISOLATED: "true", protocol.SSE_KMS_KEY: "alias/k"}
    assert orders(tmp_path, **given) == Orders("job", b"\0\xff", "s3://b/e/", "alias/k", isolated=True)


# -- memory --------------------------------------------------------------------------------------------------

V2 = "low 0\nhigh 0\nmax 9\noom 2\noom_kill {}\noom_group_kill 0\n"
V1 = "oom_kill_disable 0\nunder_oom 0\noom_kill {}\n"


@pytest.mark.parametrize(
    ("files", "mine", "kills"),
    [
        pytest.param({"memory.events": V2.format(3)}, OURS, 3, id="v2, in a container"),
        pytest.param({"a/b/memory.events": V2.format(2)}, "0::/a/b\n", 2, id="v2, outside"),
        pytest.param(
            {"memory.events": V2.format(9), "a/memory.events": V2.format(1)}, "0::/a\n", 1, id="v2, nested"
        ),
        pytest.param(
            {"memory/memory.oom_control": V1.format(4)}, "4:memory:/docker/1\n0::/\n", 4, id="v1, inside"
        ),
        pytest.param(
            {"memory/memory.oom_control": V1.format(9), "memory/docker/1/memory.oom_control": V1.format(5)},
            "5:cpu:/docker/1\n4:cpuset,memory:/docker/1\n0::/\n",
            5,
            id="v1, outside",
        ),
        pytest.param(
            {"memory/memory.oom_control": "oom_kill_disable 0\n"}, "4:memory:/\n", 0, id="v1, old kernel"
        ),
        pytest.param({}, OURS, 0, id="no memory controller"),
        pytest.param({"memory.events": V2.format(1)}, None, 1, id="no /proc/self/cgroup"),
    ],
)
def test_out_of_memory_kills(tmp_path: Path, files: dict[str, str], mine: str | None, kills: int) -> None:
    cgroups, own = tmp_path / "cgroup", tmp_path / "own"
    for name, text in files.items():
        (cgroups / name).parent.mkdir(parents=True, exist_ok=True)
        (cgroups / name).write_text(text)
    if mine is not None:
        own.write_text(mine)
    assert oom_kills(cgroups, own) == kills


V1 = "12:memory:/job\n3:cpu,cpuacct:/\n"


@pytest.mark.parametrize(
    ("files", "own", "free"),
    [
        ({}, OURS, 5 << 20),  # no group tells
        ({"memory.max": "max"}, OURS, 5 << 20),
        ({"memory.max": "3000", "memory.current": "1000"}, OURS, 2000),
        (
            {"memory.max": "3000", "memory.current": "2900", "memory.stat": "anon 7\ninactive_file 900"},
            OURS,
            1000,
        ),
        ({"memory.max": "3000", "memory.current": "4000"}, OURS, 0),
        ({"a/memory.max": "3000", "memory.max": "9000"}, "0::/a\n", 3000),
        (
            {
                "memory/job/memory.limit_in_bytes": "3000",
                "memory/job/memory.usage_in_bytes": "2000",
                "memory/job/memory.stat": "total_inactive_file 500",
            },
            V1,
            1500,
        ),
        ({"memory/memory.limit_in_bytes": "9223372036854771712"}, V1, 5 << 20),  # none
    ],
)
def test_how_much_memory_is_free(tmp_path: Path, files: dict[str, str], own: str, free: int) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    mine, meminfo = tmp_path / "mine", tmp_path / "meminfo"
    mine.write_text(own)
    meminfo.write_text("MemTotal:  9999 kB\nMemFree:  1 kB\nMemAvailable:  5120 kB\n")
    assert free_memory(tmp_path, mine, meminfo) == free


def test_memory_of_which_nobody_tells(tmp_path: Path) -> None:
    assert free_memory(tmp_path, tmp_path / "mine", tmp_path / "meminfo") == 0


def memory_group() -> tuple[Path, dict[str, str]]:
    """Where a memory group of our own would be, and what limits it to 96 MB."""
    limit = str(96 << 20)
    lines = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
    groups = {controllers: path.lstrip("/") for _, controllers, path in lines}
    if "memory" in groups:
        return CGROUPS / "memory" / groups["memory"], {"memory.limit_in_bytes": limit}
    return CGROUPS / groups[""], {"memory.max": limit, "memory.swap.max": "0"}


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A memory group with little room."""
    try:
        parent, limits = memory_group()
        group = parent / f"smexec-test-{os.getpid()}"
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no memory group of our own: {error}")
    try:
        try:
            for name, limit in limits.items():
                (group / name).write_text(limit)
        except OSError as error:
            pytest.skip(f"the memory group takes no limit: {error}")
        yield group
    finally:
        group.rmdir()


def fill() -> int:
    return len(b"x" * (1 << 30))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has cgroups")
def test_a_call_that_runs_out_of_memory(small: Path, container: Any) -> None:
    def enter() -> None:
        (small / "cgroup.procs").write_text(str(os.getpid()))

    ended = container.call(fill).run(preexec_fn=enter)
    assert (ended.code, ended.outcome["outcome"], ended.outcome["signal"]) == (2, "out-of-memory", 9)
    assert ended.failure == "the call's process was killed by signal 9: out of memory"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has cgroups")
def test_it_costs_its_neighbours_nothing(small: Path, container: Any) -> None:
    def enter() -> None:
        (small / "cgroup.procs").write_text(str(os.getpid()))

    calls: list[Any] = [(fill, (), {}), (abs, (-1,), {}), (fill, (), {}), (abs, (-2,), {})]
    ended = container.calls(calls, slots=1).run(preexec_fn=enter)
    assert ended.kinds == {0: "out-of-memory", 1: "value", 2: "out-of-memory", 3: "value"}
    assert (ended.code, ended.failure[:25]) == (2, "2 of 4 calls failed; the ")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has cgroups")
def test_a_killed_call_is_not_taken_for_it(small: Path, container: Any) -> None:
    def enter() -> None:
        (small / "cgroup.procs").write_text(str(os.getpid()))

    ended = container.call(lambda: os.kill(os.getpid(), 9)).run(preexec_fn=enter)
    assert ended.outcome["outcome"] == "killed"
