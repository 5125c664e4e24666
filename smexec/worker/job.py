"""One job: read the call, run it in a slot, deliver its outcome, end as it ended."""

from __future__ import annotations

import mmap
import os
import shutil
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import List, Sequence

from . import call, protocol
from .container import FAILURE_LIMIT, OptMl, Orders, oom_kills
from .protocol import Buffer, Event, Header
from .slot import Signals, Slot, Work

LINGER = 30.0  # seconds for the call's process to end by itself (atexit handlers) after its outcome is out
GRACE = 110.0  # seconds to end after SIGTERM; the platform kills after 120


def main() -> int:
    """Run the job; the exit code says how the call ended (see ``protocol``)."""
    opt_ml = OptMl.of(os.environ)
    orders = Orders.read(opt_ml, os.environ)
    post = Post(orders, opt_ml)
    try:
        header, sections = protocol.unseal(orders.key, protocol.call_purpose(orders.job), _read(opt_ml.call))
    except protocol.BadSignature as error:
        return post.last_word({"outcome": protocol.BAD_SIGNATURE, "message": str(error)})
    mine = protocol.python_version(sys.version_info)
    if header["python"] != mine:
        return post.last_word(_mismatch(header["python"], mine))
    # Not a TemporaryDirectory: that cleans up at exit, and the call's process, a fork of ours, exits first.
    folder = tempfile.mkdtemp(prefix="smexec-")
    try:
        with Signals() as signals:
            return _run(partial(call.run, header, sections), Path(folder, "outcome"), signals, post)
    finally:
        shutil.rmtree(folder)


def _run(work: Work, report: Path, signals: Signals, post: Post) -> int:
    kills = oom_kills()
    slot = Slot.start(work, report, signals)
    post.started()
    slot.wait()
    if slot.reported:
        code = post.report(slot.report)
        slot.wait_for_end(LINGER)
        return code
    if slot.status is None:
        return _stop(slot, post)
    return post.last_word(_death(slot.status, oom_kills() - kills))


class Post:
    """How events leave the container: to S3, or through the output folder where S3 is out of reach."""

    def __init__(self, orders: Orders, opt_ml: OptMl) -> None:
        self.orders = orders
        self.opt_ml = opt_ml
        self.reaches_s3 = not orders.isolated

    def started(self) -> None:
        self._send(protocol.STARTED_EVENT, [], tries=2)

    def report(self, path: Path) -> int:
        """Deliver what the call's process wrote to a file, without reading it into memory."""
        with open(path, "rb") as file:
            body = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        return self._outcome(protocol.decode_body(body)[0], [body])

    def last_word(self, header: Header) -> int:
        """Deliver an outcome that the worker states itself."""
        return self._outcome(header, protocol.encode_body(header, []))

    def _outcome(self, header: Header, body: Sequence[Buffer]) -> int:
        code = exit_code(header["outcome"])
        if code != protocol.EXIT_OK:
            self.opt_ml.write_failure(failure_text(header))
        purpose = protocol.outcome_purpose(self.orders.job)
        self._send(protocol.OUTCOME_EVENT, protocol.seal(self.orders.key, purpose, body), tries=6)
        return code

    def _send(self, kind: str, parts: List[Buffer], tries: int) -> None:
        if self.reaches_s3:
            from . import s3  # only now: user code is running by the time that ssl is imported

            event = Event(int(time.time() * 1000), self.orders.job, kind)
            try:
                return s3.put(self.orders.events + event.name, parts, self.orders.sse_kms_key, tries)
            except s3.Undeliverable as error:
                sys.stderr.write("smexec: {}; using /opt/ml/output/data instead\n".format(error))
                self.reaches_s3 = False
        self._leave(kind, parts)

    def _leave(self, kind: str, parts: Sequence[Buffer]) -> None:
        self.opt_ml.output.mkdir(parents=True, exist_ok=True)
        with open(self.opt_ml.output / kind, "wb") as file:
            for part in parts:
                file.write(part)


def exit_code(outcome: str) -> int:
    if outcome == protocol.VALUE:
        return protocol.EXIT_OK
    if outcome in (protocol.DIED, protocol.KILLED, protocol.OUT_OF_MEMORY):
        return protocol.EXIT_ENDED
    if outcome in (protocol.PYTHON_MISMATCH, protocol.BAD_SIGNATURE):
        return protocol.EXIT_REFUSED
    return protocol.EXIT_STOPPED if outcome == protocol.STOPPED else protocol.EXIT_RAISED


def failure_text(header: Header) -> str:
    """What becomes FailureReason: the exception in a line, then as much of the traceback's end as fits."""
    if "type" not in header:
        return str(header["message"])
    line = "{}: {}".format(header["type"], header["message"])[: FAILURE_LIMIT // 2]
    room = FAILURE_LIMIT - len(line) - 1
    return "{}\n{}".format(line, header["traceback"][-room:])


def _read(path: Path) -> bytearray:
    """Into memory that may be written to: arrays that lie in it must be the user's to change."""
    content = bytearray(path.stat().st_size)
    with open(path, "rb") as file:
        file.readinto(content)
    return content


def _mismatch(client: str, container: str) -> Header:
    message = "smexec: Python mismatch: the client runs Python {}, the container {}".format(client, container)
    return {"outcome": protocol.PYTHON_MISMATCH, "message": message, "client": client, "container": container}


def _death(status: int, oom_kills: int) -> Header:
    if not os.WIFSIGNALED(status):
        code = os.WEXITSTATUS(status)
        message = "the call's process ended by itself with exit code {}".format(code)
        return {"outcome": protocol.DIED, "message": message, "code": code}
    number = os.WTERMSIG(status)
    kind = protocol.OUT_OF_MEMORY if oom_kills and number == 9 else protocol.KILLED
    message = "the call's process was killed by signal {}{}".format(
        number, ": out of memory" if kind == protocol.OUT_OF_MEMORY else ""
    )
    return {"outcome": kind, "message": message, "signal": number}


def _stop(slot: Slot, post: Post) -> int:
    """SIGTERM came. The word goes out first; then the call may use the grace to save what it has."""
    slot.send(15)
    code = post.last_word({"outcome": protocol.STOPPED, "message": "the job was told to stop (SIGTERM)"})
    slot.wait_for_end(GRACE)
    return code
