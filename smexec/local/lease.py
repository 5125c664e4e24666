"""One service for each user of a machine, which lives as long as somebody holds a lease on it.

::

    with lease() as service:
        boto3.client("s3", endpoint_url=service.endpoint_url, ...)

The first client starts the service, which tells the others in the user's runtime directory where it is. A
lease is an open connection: the kernel closes it when its client ends, however it ends, and about a second
after the last one the service ends as well. Nothing is left then, neither a process nor a file.

This module is the clients' end; the service's is ``leased.py``.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import http.client
import json
import os
import select
import socket
import stat
import subprocess
import sys
import tempfile
import warnings
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from typing_extensions import Self

LEASE_GRACE = 1.0  # seconds from the last lease to the end: the next call may come soon
START_SECONDS = 60.0  # far above what any start takes
ANSWER_SECONDS = 60.0  # far above what any answer takes
CONTROL = "/_smexec/"

# Runs its arguments as a daemon: the service is nobody's child, as it may outlive who started it.
_DETACH = "import os, sys\nif os.fork() == 0:\n    os.setsid()\n    os.execv(sys.argv[1], sys.argv[1:])"


#: What the extra ``local`` brings.
NEEDS = ("aiohttp", "flask", "flask_cors", "moto", "platformdirs", "yaml")


class ServiceUnavailable(RuntimeError):
    """There is no local service, and none can be started."""


def check_needs() -> None:
    """Look for what a service needs, without importing any of it.

    Raises:
        ServiceUnavailable: something is not installed; with what to do.
    """
    missing = [name for name in NEEDS if find_spec(name) is None]
    if missing:
        raise ServiceUnavailable(f"the local service needs {', '.join(missing)}: pip install 'smexec[local]'")


class Lease:
    """A hold on a running service: a context manager, given back by :meth:`close` or with the process.

    Attributes:
        endpoint_url: for all AWS clients.
        region: that the service plays.
        access_key, secret_key: which it takes as it takes any.
        bucket: its default bucket.
        role: ARN of a role that SageMaker may assume.
        environment: variables that lead any AWS client there.
    """

    def __init__(self, description: Mapping[str, Any], lifeline: int) -> None:
        self.environment: dict[str, str] = dict(description["environment"])
        self.endpoint_url: str = description["endpoint_url"]
        self.region: str = description["region"]
        self.access_key = self.environment["AWS_ACCESS_KEY_ID"]
        self.secret_key = self.environment["AWS_SECRET_ACCESS_KEY"]
        self.bucket: str = description["bucket"]
        self.role: str = description["role"]
        self._lifeline = lifeline
        # A lease that is dropped is given back, too; and a forked child has none of its own.
        self._finalizer = weakref.finalize(self, os.close, lifeline)
        _held.add(self)

    def __repr__(self) -> str:
        return f"<Lease {self.endpoint_url}{'' if self._finalizer.alive else ' given back'}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def fileno(self) -> int:
        """For ``select``: it is readable when the service has ended, however it did."""
        return self._lifeline

    def name_image(self, directory: str) -> str:
        """Have a directory stand for an image; the name that the service then has for it."""
        name = f"local/{hashlib.sha256(os.fsencode(directory)).hexdigest()[:12]}"
        control(self.endpoint_url, "POST", "configure", {"image": {name: directory}})
        return name

    def close(self) -> None:
        """Give it back; more than once is no error."""
        self._finalizer()


_held: weakref.WeakSet[Lease] = weakref.WeakSet()


def _close_inherited() -> None:
    for inherited in list(_held):
        inherited.close()


os.register_at_fork(after_in_child=_close_inherited)


def _runtime_directory() -> Path:
    import platformdirs  # only now: check_needs is for those who may not have it

    with warnings.catch_warnings():
        # Where the system gives users none (a container, sudo), one among the temporary files does as well.
        warnings.simplefilter("ignore")
        return platformdirs.user_runtime_path()


@dataclass(frozen=True)
class Place:
    """Where a user's service says that it is: a directory that only the user can read.

    Each version has its own, so that a client never meets a service that it does not understand.
    """

    directory: Path = field(default_factory=lambda: _runtime_directory() / f"smexec-{_version()}")

    @property
    def record(self) -> Path:
        """The service's description of itself, while it runs."""
        return self.directory / "service.json"

    @property
    def log(self) -> Path:
        """The service's stderr."""
        return self.directory / "service.log"

    @contextlib.contextmanager
    def locked(self, *, wait: bool = True) -> Iterator[None]:
        """Be the only one who starts a service, or cleans up after one. The directory is there for the block.

        Raises:
            BlockingIOError: somebody else is, and ``wait`` is false.
        """
        lock = self._lock(0 if wait else fcntl.LOCK_NB)
        try:
            yield
        finally:
            os.close(lock)

    def read(self) -> dict[str, Any] | None:
        """The record, if there is one; the service may have been killed since."""
        try:
            description: dict[str, Any] = json.loads(self.record.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return description

    def publish(self, description: Mapping[str, Any]) -> None:
        """Write the record, at once or not at all."""
        draft = self.record.with_suffix(".draft")
        draft.write_text(json.dumps(description), encoding="utf-8")
        draft.replace(self.record)

    def clear(self) -> None:
        """Remove everything, a draft of one who was killed over it too; with the lock held."""
        for path in list(self.directory.iterdir()):
            path.unlink()
        self.directory.rmdir()
        # Where the system gives users no runtime directory, platformdirs makes one among the temporary files.
        if self.directory.parent.parent == Path(tempfile.gettempdir()):
            with contextlib.suppress(OSError):
                self.directory.parent.rmdir()

    def _lock(self, flags: int) -> int:
        while True:
            # Whoever holds the lock may remove the directory and its parent, between any two lines of this.
            with contextlib.suppress(FileNotFoundError):
                self._make()
                if self.directory.is_symlink() or self.directory.stat().st_uid != os.getuid():
                    raise ServiceUnavailable(f"{self.directory} belongs to somebody else")
                lock = os.open(self.directory, os.O_RDONLY)
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | flags)
                    # It may be another one that has the name by the time that we have the lock.
                    if os.path.samestat(os.fstat(lock), self.directory.stat()):
                        return lock
                except BaseException:
                    os.close(lock)
                    raise
                os.close(lock)

    def _make(self) -> None:
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except FileExistsError as error:  # it is no directory, or it is gone since
            if not stat.S_ISDIR(os.lstat(error.filename).st_mode):
                raise


def lease(place: Place | None = None) -> Lease:
    """A lease on the user's service, which is started if there is none.

    Raises:
        ServiceUnavailable: it cannot be started; with the reason.
    """
    check_needs()
    place = place or Place()
    try:
        held = _join(place)
        if held is None:
            with place.locked():
                held = _join(place) or start(place, {"lease_grace": LEASE_GRACE})
    except OSError as error:
        raise ServiceUnavailable(f"the local service has no place in {place.directory}: {error}") from error
    return held


def running(place: Place) -> dict[str, Any] | None:
    """The description of the user's service if it runs."""
    description = place.read()
    return description if description and _answers(description) else None


def start(place: Place, config: Mapping[str, Any]) -> Lease:
    """Start the user's service, with the lock of its place held, and take the first lease.

    Raises:
        ServiceUnavailable: it did not come up.
    """
    orders, lifeline = os.pipe()
    answers, answer = os.pipe()
    with place.log.open("wb") as log, contextlib.ExitStack() as ours, contextlib.ExitStack() as held:
        ours.callback(os.close, answers)
        held.callback(os.close, lifeline)
        try:
            subprocess.run(  # noqa: PLW1510  (what matters is the answer)
                [sys.executable, "-I", "-S", "-c", _DETACH, *command()],
                stdin=orders,
                stdout=answer,
                stderr=log,
                cwd="/",  # whose modules shadow nothing, and which is never in anybody's way
                env=service_environment(),
            )
        finally:
            os.close(orders)
            os.close(answer)
        with contextlib.suppress(BrokenPipeError):  # it has ended already
            os.write(lifeline, order(config, place.directory))
        if description := read_description(answers):
            held.pop_all()
            return Lease(description, lifeline)
    said = place.log.read_text(encoding="utf-8", errors="replace").strip()
    place.clear()
    raise ServiceUnavailable(f"the local service did not start: {said or 'it said nothing'}")


def command() -> list[str]:
    """Starts a service that reads its order from stdin and holds a lease until the end of it."""
    return [sys.executable, "-m", "smexec.local.leased"]


def order(config: Mapping[str, Any], place: Path | None) -> bytes:
    """What such a service reads first: settings, and where to publish itself."""
    return json.dumps({"config": dict(config), "place": place and str(place)}).encode() + b"\n"


def service_environment() -> dict[str, str]:
    """Ours without what would lead the service's own AWS clients elsewhere; it finds this package."""
    proxies = {"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"}
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("AWS_") and name.upper() not in proxies
    }
    root = Path(__file__).parents[2]
    if root.name not in {"site-packages", "dist-packages"}:  # a source tree
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [environment.get("PYTHONPATH"), str(root)]))
    return environment


def read_description(answers: int) -> dict[str, Any] | None:
    """The line in which a service that is ready describes itself; None if it ends without.

    Raises:
        ServiceUnavailable: nothing happens.
    """
    line = b""
    while not line.endswith(b"\n"):
        if not select.select([answers], [], [], START_SECONDS)[0]:
            raise ServiceUnavailable(f"the local service has not answered for {START_SECONDS:.0f} s")
        part = os.read(answers, 1 << 16)
        if not part:
            return None
        line += part
    description: dict[str, Any] = json.loads(line)
    return description


def control(endpoint_url: str, method: str, path: str, body: Any = None) -> Any:
    """Ask a service's control API.

    Raises:
        OSError: nobody answers.
        ValueError: it says no; with what it says.
    """
    connection = http.client.HTTPConnection(
        urlsplit(endpoint_url).netloc, timeout=None if body else ANSWER_SECONDS
    )
    with contextlib.closing(connection):
        connection.request(method, CONTROL + path, None if body is None else json.dumps(body))
        response = connection.getresponse()
        content = json.loads(response.read())
        if response.status != http.HTTPStatus.OK:
            raise ValueError(content.get("error", content))
    return content


def _join(place: Place) -> Lease | None:
    """A lease on a service that runs already."""
    description = place.read()
    if description is None:
        return None
    try:
        connection = _connect(description["endpoint_url"])
    except OSError:
        return None
    if connection is None:
        return None
    if not _answers(description):
        connection.close()
        return None
    return Lease(description, connection.detach())


def _connect(endpoint_url: str) -> socket.socket | None:
    """The connection that is a lease; None if the service is about to end and gives no more of them."""
    address = urlsplit(endpoint_url)
    where = (address.hostname, address.port or http.client.HTTP_PORT)
    connection = socket.create_connection(where, timeout=ANSWER_SECONDS)
    head = f"POST {CONTROL}lease HTTP/1.1\r\nHost: {address.netloc}\r\nTransfer-Encoding: chunked\r\n\r\n"
    try:
        connection.sendall(head.encode())
        answer = b""
        while b"leased" not in answer:
            part = connection.recv(1 << 12)
            answer += part
            if not part or not answer.startswith(b"HTTP/1.1 200"[: len(answer)]):
                connection.close()
                return None
    except BaseException:
        connection.close()
        raise
    return connection


def _answers(description: Mapping[str, Any]) -> bool:
    """Whether it is this very service that listens there, and not another that has got its port."""
    try:
        return bool(control(description["endpoint_url"], "GET", "health")["pid"] == description["pid"])
    except (OSError, ValueError, http.client.HTTPException):
        return False


def _version() -> str:
    try:
        return version("smexec")
    except PackageNotFoundError:  # a source tree that is not installed
        return "source"
