"""A container as the platform lays it out, in a directory, and the worker's zipapp in it."""

from __future__ import annotations

import http.server
import json
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from smexec.capture import pickling
from smexec.capture.layers import worker_layer
from smexec.core.request import create_training_job
from smexec.core.run import Run
from smexec.core.settings import Settings
from smexec.core.work import Call, Place
from smexec.worker import protocol, s3
from smexec.worker.protocol import Header

JOB = "smexec-f-abcdefgh-00001"
KEY = bytes(range(32))


class Ended(NamedTuple):
    """What a worker left behind.

    :ivar failure: the text of ``/opt/ml/output/failure``, or None
    :ivar outcome: the header of the outcome, or None if there is none
    """

    code: int
    stdout: str
    stderr: str
    failure: str | None
    outcome: Header | None
    sections: Sequence[memoryview]

    @property
    def value(self) -> Any:
        """What the call returned, or the exception that it raised."""
        return pickle.loads(self.sections[0], buffers=self.sections[1:])


class Container:
    """Isolated from the network unless told otherwise, so that outcomes come by the output folder."""

    def __init__(self, folder: Path) -> None:
        self.opt_ml = folder / "opt" / "ml"
        self.home = Path(tempfile.mkdtemp())  # short: multiprocessing puts sockets there
        self.orders = {protocol.KEY: KEY.hex(), protocol.EVENTS: "s3://b/events/", protocol.ISOLATED: "true"}
        self.environment: dict[str, str] = {}
        self._processes: list[subprocess.Popen[str]] = []
        self._write(f"input/data/{protocol.WORKER_CHANNEL}/{protocol.WORKER_FILE}", self.worker)

    worker = worker_layer(protocol.WORKER_FILE).content

    def call(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Container:
        """Put a call in its channel."""
        return self.envelope(pickling.dump_call(function, args, kwargs, None))

    def envelope(
        self, sections: Sequence[Any], *, key: bytes = KEY, purpose: str | None = None, **header: Any
    ) -> Container:
        """Put these sections in the call's channel."""
        header = {"python": protocol.python_version(sys.version_info), **header}
        body = protocol.encode_body(header, sections)
        parts = protocol.seal(key, purpose or protocol.call_purpose(JOB), body)
        self._write(f"input/data/{protocol.CALL_CHANNEL}/{protocol.CALL_FILE}", b"".join(parts))
        return self

    @property
    def hyperparameters(self) -> Path:
        return self.opt_ml / "input" / "config" / "hyperparameters.json"

    def order(self) -> None:
        """Write the hyperparameters."""
        self._write("input/config/hyperparameters.json", json.dumps(self.orders).encode())

    def start(
        self, python: str = sys.executable, *, change: str = "", ordered: bool = True, **popen: Any
    ) -> subprocess.Popen[str]:
        """The container's process, started as the request says.

        :param change: a statement about the module ``job`` to start with, such as ``job.GRACE = 0``
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
        command = self.changed(python, change) if change else self.command(python)
        process = subprocess.Popen(command, **options)
        self._processes.append(process)
        return process

    def changed(self, python: str, change: str) -> list[str]:
        """A command that changes the worker and runs it."""
        worker = self.opt_ml / "input" / "data" / protocol.WORKER_CHANNEL / protocol.WORKER_FILE
        program = f"import sys; sys.path.insert(0, {str(worker)!r}); from _smexec_worker import job; {change}"
        return [python, "-c", f"{program}; sys.exit(job.main())"]

    def command(self, python: str) -> list[str]:
        """ContainerEntrypoint, with the layout's place in it, as without a mount namespace."""
        call = Call("f", [], {}, Settings())
        place = Place("us-east-1", "arn:aws:iam::123456789012:role/r", "image", "s3://b", python)
        digest = worker_layer(protocol.WORKER_FILE).sha256
        request = create_training_job(call, JOB, Run(), place, digest)
        entrypoint: list[str] = request["AlgorithmSpecification"]["ContainerEntrypoint"]
        return [item.replace("/opt/ml", str(self.opt_ml)) for item in entrypoint]

    def run(self, python: str = sys.executable, **how: Any) -> Ended:
        """Start, wait, gather."""
        return self.gather(self.start(python, **how))

    def gather(self, process: subprocess.Popen[str]) -> Ended:
        """What is there once the process has ended."""
        stdout, stderr = process.communicate(timeout=30)
        failure = self.opt_ml / "output" / "failure"
        text = failure.read_text(encoding="utf-8") if failure.exists() else None
        header, sections = self.outcome()
        assert list(self.home.iterdir()) == []  # what is in TMPDIR would stay on a machine
        return Ended(process.returncode, stdout, stderr, text, header, sections)

    def outcome(self) -> tuple[Header | None, Sequence[memoryview]]:
        """From the output folder, if there is one by now."""
        path = self.opt_ml / "output" / "data" / protocol.OUTPUT_FOLDER / protocol.OUTCOME_EVENT
        if not path.exists():
            return None, []
        return protocol.unseal(KEY, protocol.outcome_purpose(JOB), bytearray(path.read_bytes()))

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


@pytest.fixture
def container(tmp_path: Path) -> Iterator[Container]:
    container = Container(tmp_path)
    yield container
    container.end()


class Bucket(http.server.ThreadingHTTPServer):
    """Takes PUTs and records them. Answers as told, with a status or raw bytes; then with 200."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), BucketHandler)
        self.puts: list[tuple[str, dict[str, str], bytes]] = []
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
        if isinstance(answer, int):
            self._answer(answer, b"<Code>Said</Code>" if answer != 200 else b"")
        else:
            self.wfile.write(answer)
            self.close_connection = True

    def do_GET(self) -> None:
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
