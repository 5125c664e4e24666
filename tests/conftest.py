"""What holds for every test: no real AWS in reach, and nothing left behind."""

from __future__ import annotations

import os
import select
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Nothing that merely takes long on a machine with other work is a failure.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

# Inherited by every process that a test starts, so that those left behind can be told from other people's.
MARKER = f"SMEXEC_TEST_SESSION={uuid.uuid4().hex}"
# Short, since Unix sockets' paths must stay under 108 bytes. Leases of the tests live here, not in the user's
# own runtime directory.
HOME = Path(tempfile.mkdtemp(prefix="smx-", dir="/tmp"))


def pytest_configure(config: pytest.Config) -> None:
    """Before the first import of a test module: an environment without the developer's own AWS account."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "SMEXEC_"))]:
        del os.environ[name]
    name, _, value = MARKER.partition("=")
    scratch = {name: str(HOME / name.lower()) for name in ("TMPDIR", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME")}
    for directory in scratch.values():
        Path(directory).mkdir(mode=0o700)
    os.environ |= {
        name: value,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        **scratch,
    }
    tempfile.tempdir = None  # have it read TMPDIR again


@pytest.fixture(scope="session", autouse=True)
def _nothing_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """The first fixture to be set up, and so the last to be torn down."""
    yield
    processes = [f"{pid} {command}" for pid, command in marked_processes() if not ends(pid)]
    directories = [path.name for path in scratch_entries()]
    cache: pytest.Cache | None = getattr(request.config, "cache", None)
    if cache and (processes or directories):
        cache.mkdir("left-behind")  # for noxfile.py: to run the last test again would not show it
    assert not processes, f"processes left behind: {processes}"
    assert not directories, f"files left behind: {directories}"


@pytest.fixture(autouse=True)
def _environment_is_as_before() -> Iterator[None]:
    """In whatever order fixtures undo their changes: a leftover would lead the next test to real AWS."""
    before = dict(os.environ)
    yield
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """A named pipe: a call that reads it runs until the test writes to it, which waits for the reader."""
    path = tmp_path / "gate"
    os.mkfifo(path)
    return path


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls wait until their job is full or all have come, however long this machine holds up who submits."""
    for name in ("_LINGER", "_PATIENCE", "_PICKLING", "_ALL_PICKLED"):
        monkeypatch.setattr(f"smexec.executor.{name}", 600.0)


@pytest.fixture(scope="module")
def loky() -> Iterator[None]:
    """For tests that use joblib's own processes: they end with the module, and not with ours."""
    from joblib.externals.loky import reusable_executor

    yield
    if reusable_executor._executor:
        reusable_executor._executor.terminate(kill_workers=True)


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(HOME, ignore_errors=True)


def ends(pid: int, patience: float = 60.0) -> bool:
    """Wait for the end of a process: a leased service outlives its last client by about a second."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    with os.fdopen(descriptor):
        readable, _, _ = select.select([descriptor], [], [], patience)
    return bool(readable)


def marked_processes() -> Iterator[tuple[int, str]]:
    """Pid and command line of every process that a test of this session started."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = (process / "environ").read_bytes().split(b"\0")
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except (FileNotFoundError, PermissionError, ProcessLookupError):
            continue  # ended meanwhile, or somebody else's
        is_ours = MARKER.encode() in environment and int(process.name) != os.getpid()
        if is_ours and "resource_tracker" not in command:  # which multiprocessing ends with its process
            yield int(process.name), command


def scratch_entries() -> Iterator[Path]:
    """What lies in the tests' temporary and runtime directories, pytest's own directory left out."""
    for name in ("TMPDIR", "XDG_RUNTIME_DIR"):
        for path in Path(os.environ[name]).iterdir():
            if not path.name.startswith("pytest-of-"):
                yield path
