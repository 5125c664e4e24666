"""A container as the platform lays it out, in a directory, and the worker's zipapp in it."""

from __future__ import annotations

import hashlib
import http.server
import ipaddress
import itertools
import json
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from smexec.capture import pickling
from smexec.capture.layers import worker_layer
from smexec.capture.sharing import Sharing
from smexec.core.assembly import Assembly, assemble
from smexec.core.cargo import BatchCargo
from smexec.core.packing import Kind
from smexec.core.run import Run
from smexec.core.settings import Settings
from smexec.core.work import Batch, Call, Function, Place
from smexec.worker import batch, protocol, s3
from smexec.worker.batch import PackedCall
from smexec.worker.protocol import Buffer, Header

JOB = "smexec-f-abcdefgh-00001"
KEY = bytes(range(32))
HERE = protocol.python_version(sys.version_info)
BATCH_PURPOSE = protocol.batch_purpose(JOB)


class Told(NamedTuple):
    """What was said of a call's end: the header, and the pickle's sections."""

    header: Header
    sections: Sequence[memoryview]

    @property
    def value(self) -> Any:
        """What the call returned, or the exception that it raised."""
        return pickle.loads(self.sections[0], buffers=self.sections[1:])


class News:
    """Envelopes that a worker wrote, opened.

    :ivar started: calls, in the order of their starts
    :ivar ended: what was said of each call's end, in the order of their ends
    """

    def __init__(self, envelopes: Iterable[tuple[int, bytes]]) -> None:
        self.started: list[int] = []
        self.ended: dict[int, Told] = {}
        for number, envelope in envelopes:
            purpose = protocol.events_purpose(JOB, number)
            header, sections = protocol.unseal(KEY, purpose, bytearray(envelope))
            self._hear(header["events"], iter(sections))

    def _hear(self, events: Sequence[Header], sections: Iterator[memoryview]) -> None:
        for event in events:
            own = list(itertools.islice(sections, event["sections"]))
            if event["outcome"] is None:
                self.started.append(event["call"])
            else:
                assert event["call"] not in self.ended
                self.ended[event["call"]] = Told(event["outcome"], own)


class Ended(NamedTuple):
    """What a worker left behind.

    :ivar failure: the text of ``/opt/ml/output/failure``, or None
    :ivar news: what it said, if it is isolated
    """

    code: int
    stdout: str
    stderr: str
    failure: str | None
    news: News

    @property
    def outcome(self) -> Header | None:
        """What was said of the end of the first call, or of the whole batch."""
        told = next(iter(self.news.ended.values()), None)
        return told.header if told else None

    @property
    def value(self) -> Any:
        """What the only call returned, or the exception that it raised."""
        (told,) = self.news.ended.values()
        return told.value

    @property
    def values(self) -> dict[int, Any]:
        """The same for each call."""
        return {call: told.value for call, told in self.news.ended.items()}

    @property
    def kinds(self) -> dict[int, str]:
        """How each call ended."""
        return {call: told.header["outcome"] for call, told in self.news.ended.items()}


class Container:
    """Isolated from the network unless told otherwise, so that news come by the output folder.

    :ivar changes: statements about the worker's modules to start with, such as ``monitor.GRACE = 0``
    """

    def __init__(self, folder: Path) -> None:
        self.changes: list[str] = []
        self.opt_ml = folder / "opt" / "ml"
        self.home = Path(tempfile.mkdtemp())  # short: multiprocessing puts sockets there
        self.orders = {protocol.KEY: KEY.hex(), protocol.EVENTS: "s3://b/events/", protocol.ISOLATED: "true"}
        self.environment: dict[str, str] = {}
        self._processes: list[subprocess.Popen[str]] = []
        self._write(f"input/data/{protocol.WORKER_CHANNEL}/{protocol.WORKER_FILE}", self.worker)

    worker = worker_layer(protocol.WORKER_FILE).content

    def call(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Container:
        """A batch of one call."""
        return self.calls([(function, args, kwargs)])

    def map(self, function: Callable[..., Any], arguments: Iterable[Any], **how: Any) -> Container:
        """A batch: the function of each argument."""
        return self.calls([(function, (argument,), {}) for argument in arguments], **how)

    def calls(
        self, calls: Iterable[tuple[Callable[..., Any], Sequence[Any], Mapping[str, Any]]], **how: Any
    ) -> Container:
        """A batch of these calls.

        :param how: ``slots``, ``timeout``, ``gpus``
        """
        functions: dict[int, Function] = {}
        packed = []
        sharing = Sharing(still=True)
        for function, args, kwargs in calls:
            dumped = functions.setdefault(id(function), pickling.dump_function(function, None))
            arguments = pickling.dump_arguments(function, args, kwargs, None, sharing=sharing)
            packed.append(Call(dumped, arguments, Settings(), Kind("batch")))
        return self.put(assemble(Batch(packed), {"python": HERE, **how}, sha256))

    def put(self, assembly: Assembly) -> Container:
        """Put a batch in its channels."""
        parts = protocol.seal(KEY, protocol.batch_purpose(JOB), assembly.body)
        for digest, section in assembly.shared.items():
            self._write(f"input/data/{protocol.SHARED_CHANNEL}/{digest}", bytes(section))
        return self.envelope(parts)

    def envelope(self, parts: Sequence[Buffer]) -> Container:
        """Put anything in the batch's channel."""
        self._write(f"input/data/{protocol.BATCH_CHANNEL}/{protocol.BATCH_FILE}", b"".join(parts))
        return self

    def pickled(
        self,
        function: bytes,
        arguments: bytes,
        *,
        key: bytes = KEY,
        purpose: str = BATCH_PURPOSE,
        **header: Any,
    ) -> Container:
        """A batch of one call that is pickled already."""
        calls = [PackedCall(0, [1])]
        body = batch.encode({"python": HERE, **header}, calls, [[0]], [function, arguments], {})
        return self.envelope(protocol.seal(key, purpose, body))

    @property
    def hyperparameters(self) -> Path:
        return self.opt_ml / "input" / "config" / "hyperparameters.json"

    def among(self, index: int, hosts: Mapping[str, str]) -> Container:
        """One of the hosts of a job, whose addresses are told."""
        resources = {"hosts": list(hosts), "current_host": list(hosts)[index]}
        self._write("input/config/resourceconfig.json", json.dumps(resources).encode())
        self.environment[protocol.HOSTS_VARIABLE] = json.dumps(hosts)
        return self

    def order(self) -> None:
        """Write the hyperparameters."""
        self._write("input/config/hyperparameters.json", json.dumps(self.orders).encode())

    def start(
        self, python: str = sys.executable, *, change: str = "", ordered: bool = True, **popen: Any
    ) -> subprocess.Popen[str]:
        """The container's process, started as the request says.

        :param change: one more of :attr:`changes`
        :param ordered: whether the hyperparameters are there
        """
        if ordered:
            self.order()
        marker = {name: value for name, value in os.environ.items() if name.startswith("SMEXEC_TEST_")}
        environment = {
            **marker,
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "HOME": str(self.home),
            "TMPDIR": str(self.home),
            "TRAINING_JOB_NAME": JOB,
            "AWS_REGION": "us-east-1",
            protocol.OPT_ML_VARIABLE: str(self.opt_ml),
            **self.environment,
        }
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        options: dict[str, Any] = {**pipes, "env": environment, "cwd": self.home, "text": True, **popen}
        changes = "; ".join(filter(None, [*self.changes, change]))
        command = self.changed(python, changes) if changes else self.command(python)
        process = subprocess.Popen(command, **options)
        self._processes.append(process)
        return process

    def changed(self, python: str, change: str) -> list[str]:
        """A command that changes the worker and runs it."""
        worker = self.opt_ml / "input" / "data" / protocol.WORKER_CHANNEL / protocol.WORKER_FILE
        modules = "import container, job, monitor, nursery, peers, post, slot"
        program = f"import sys; sys.path.insert(0, {str(worker)!r}); from _smexec_worker {modules}; {change}"
        return [python, "-c", f"{program}; sys.exit(job.main())"]

    def command(self, python: str) -> list[str]:
        """ContainerEntrypoint, with the layout's place in it, as without a mount namespace."""
        role = "arn:aws:iam::123456789012:role/r"
        place = Place("us-east-1", "ml.m5.large", role, "image", "s3://b", python)
        cargo = BatchCargo(JOB, Settings(), "f", worker_layer(protocol.WORKER_FILE).sha256)
        (request,) = cargo.requests(JOB, Run(), place)
        entrypoint: list[str] = request.members["AlgorithmSpecification"]["ContainerEntrypoint"]
        return [item.replace("/opt/ml", str(self.opt_ml)) for item in entrypoint]

    def run(self, python: str = sys.executable, **how: Any) -> Ended:
        """Start, wait, gather."""
        return self.gather(self.start(python, **how))

    def gather(self, process: subprocess.Popen[str]) -> Ended:
        """What is there once the process has ended."""
        stdout, stderr = process.communicate(timeout=60)
        failure = self.opt_ml / "output" / "failure"
        text = failure.read_text(encoding="utf-8") if failure.exists() else None
        assert list(self.home.iterdir()) == []  # what is in TMPDIR would stay on a machine
        return Ended(process.returncode, stdout, stderr, text, self.news())

    def news(self) -> News:
        """What lies in the output folder by now."""
        folder = self.opt_ml / "output" / "data" / protocol.OUTPUT_FOLDER
        numbers = sorted(int(path.name) for path in folder.glob("*") if path.name.isdecimal())
        return News((number, (folder / str(number)).read_bytes()) for number in numbers)

    def _write(self, name: str, content: bytes) -> None:
        path = self.opt_ml / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def end(self) -> None:
        """Leave nothing running, also when a test has failed."""
        for process in self._processes:
            if process.poll() is None:
                process.kill()
            process.communicate()
        shutil.rmtree(self.home)


def sha256(section: Buffer) -> str:
    return hashlib.sha256(section).hexdigest()


@pytest.fixture
def container(tmp_path: Path) -> Iterator[Container]:
    container = Container(tmp_path)
    yield container
    container.end()


_jobs = itertools.count(1)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Callable[[int], list[Container]]]:
    """Makes the containers of a job that has several hosts. Each job has addresses of its own."""
    containers: list[Container] = []

    def make(count: int) -> list[Container]:
        start = int(ipaddress.ip_address("127.1.0.0")) + (os.getpid() << 8 | next(_jobs)) % (1 << 23)
        names = [f"algo-{number}" for number in range(1, count + 1)]
        hosts = {name: str(ipaddress.ip_address(start + index)) for index, name in enumerate(names)}
        made = [Container(tmp_path / name).among(index, hosts) for index, name in enumerate(names)]
        containers.extend(made)
        return made

    yield make
    for container in containers:
        container.end()


class Bucket(http.server.ThreadingHTTPServer):
    """Takes PUTs and records them. Answers as told, with a status or raw bytes; then with 200.

    :ivar taken: path and content of those that were answered with 200
    :ivar first: set as soon as one has come; a GET of ``/first`` waits for it
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), BucketHandler)
        self.puts: list[tuple[str, dict[str, str], bytes]] = []
        self.taken: list[tuple[str, bytes]] = []
        self.first = threading.Event()
        self.answers: list[int | bytes] = []
        self.credentials = {"AccessKeyId": "ASIA", "SecretAccessKey": "secret", "Token": "token"}
        self.asked: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def environment(self) -> dict[str, str]:
        """As the platform gives it to a container."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_REGION": "eu-west-1",
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": self.url + "/credentials",
        }


class BucketHandler(http.server.BaseHTTPRequestHandler):
    server: Bucket

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.puts.append((self.path, headers, body))
        answer = self.server.answers.pop(0) if self.server.answers else 200
        if answer == 200:
            self.server.taken.append((self.path, body))
        self.server.first.set()
        if isinstance(answer, int):
            self._answer(answer, b"<Code>Said</Code>" if answer != 200 else b"")
        else:
            self.wfile.write(answer)
            self.close_connection = True

    def do_POST(self) -> None:
        self.do_PUT()

    def do_GET(self) -> None:
        if self.path == "/first":
            self._answer(200 if self.server.first.wait(60) else 500, b"")
            return
        self.server.asked.append(self.headers["Authorization"])
        self._answer(200, json.dumps(self.server.credentials).encode())

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Be silent."""


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """An endpoint that the environment leads to, for S3 and for a container's credentials."""
    with Bucket() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(s3, "PAUSE", 0.0)
        yield server
        server.shutdown()
        thread.join()
