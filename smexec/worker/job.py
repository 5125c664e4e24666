"""One job: read the call, run it in a slot, deliver its outcome, end as it ended."""

from __future__ import annotations

import mmap
import os
import signal
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import BinaryIO, Sequence

from . import call, protocol
from .container import FAILURE_LIMIT, OptMl, Orders, oom_kills
from .protocol import Buffer, Event, Header
from .slot import Signals, Slot, Work

LINGER = 30.0  # seconds for the call's process to end by itself (atexit handlers) after its outcome is out
GRACE = 110.0  # seconds to end after SIGTERM; the platform kills after 120
_TOLD_TO_STOP = {"outcome": protocol.STOPPED, "message": "the job was told to stop (SIGTERM)"}


def main() -> int:
    """Run the job; the exit code says how the call ended (see ``protocol``)."""
    opt_ml = OptMl.of(os.environ)
    try:
        with Signals() as signals:  # first of all: PID 1 does not notice a signal that it does not handle
            return _attend(opt_ml, signals)
    except Exception as error:
        opt_ml.write_failure("smexec: the worker failed: " + failure_text(call.describe(error, skip=0)))
        raise


def _attend(opt_ml: OptMl, signals: Signals) -> int:
    orders = Orders.read(opt_ml, os.environ)
    post = Post(orders, opt_ml)
    try:
        header, sections = protocol.unseal(orders.key, protocol.call_purpose(orders.job), _read(opt_ml.call))
    except protocol.BadSignature as error:
        return post.last_word({"outcome": protocol.BAD_SIGNATURE, "message": str(error)})
    mine = protocol.python_version(sys.version_info)
    if header["python"] != mine:
        return post.last_word(_mismatch(header["python"], mine))
    if signals.terminated:
        return post.last_word(_TOLD_TO_STOP)
    # The file has no name: even if we are killed, it leaves nothing behind.
    with tempfile.TemporaryFile(prefix="smexec-") as report:
        return _run(partial(call.run, header, sections), report, signals, post)


def _run(work: Work, report: BinaryIO, signals: Signals, post: Post) -> int:
    kills = oom_kills()
    slot = Slot.start(work, report, signals)
    try:
        post.started()
        slot.wait()
        if slot.reported:
            code = post.report(report)
            slot.wait_for_end(LINGER)
            return code
        if slot.status is None:
            return _stop(slot, post)
        return post.last_word(_death(slot.status, oom_kills() - kills))
    finally:
        slot.end()


class Post:
    """How events leave the container: to S3, or through the output folder where S3 is out of reach."""

    def __init__(self, orders: Orders, opt_ml: OptMl) -> None:
        self.orders = orders
        self.opt_ml = opt_ml
        self.reaches_s3 = not orders.isolated

    def started(self) -> None:
        """Tell that the call has started, if it can be told at once."""
        if self.reaches_s3:
            self._reach(protocol.STARTED_EVENT, [], tries=2)

    def report(self, file: BinaryIO) -> int:
        """Deliver what the call's process wrote to a file, without reading it into memory."""
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
        envelope = protocol.seal(self.orders.key, purpose, body)
        if not (self.reaches_s3 and self._reach(protocol.OUTCOME_EVENT, envelope, tries=6)):
            self._leave(protocol.OUTCOME_EVENT, envelope)
        return code

    def _reach(self, kind: str, parts: Sequence[Buffer], tries: int) -> bool:
        """Write to S3; False if it does not take it. One that may take it later is tried again next time."""
        from . import s3  # only now: user code is running by the time that ssl is imported

        event = Event(int(time.time() * 1000), self.orders.job, kind)
        try:
            s3.put(self.orders.events + event.name, parts, self.orders.sse_kms_key, tries)
        except s3.Undeliverable as error:
            sys.stderr.write("smexec: {}\n".format(error))
            self.reaches_s3 = error.may_pass
            return False
        return True

    def _leave(self, kind: str, parts: Sequence[Buffer]) -> None:
        """Have the platform take it along, when the job has ended."""
        self.opt_ml.output.mkdir(parents=True, exist_ok=True)
        with (self.opt_ml.output / kind).open("wb") as file:
            file.writelines(parts)


def exit_code(outcome: str) -> int:
    """The worker's, for what a call ended with."""
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
    with path.open("rb") as file:
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
    kind = protocol.OUT_OF_MEMORY if oom_kills and number == signal.SIGKILL else protocol.KILLED
    message = "the call's process was killed by signal {}{}".format(
        number, ": out of memory" if kind == protocol.OUT_OF_MEMORY else ""
    )
    return {"outcome": kind, "message": message, "signal": number}


def _stop(slot: Slot, post: Post) -> int:
    """SIGTERM came. The word goes out first; then the call may use the grace to save what it has."""
    slot.send(signal.SIGTERM)
    code = post.last_word(_TOLD_TO_STOP)
    slot.wait_for_end(GRACE)
    return code
