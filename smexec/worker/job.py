"""One job: read the batch, run its calls in slots, deliver their outcomes, end as they ended."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Dict, Mapping, Optional, Sequence

from . import batch as batches
from . import call, plan, protocol
from . import todo as todos
from .batch import Batch
from .container import FAILURE_LIMIT, End, OptMl, Orders
from .monitor import Monitor
from .nursery import Work
from .post import Post
from .protocol import Header
from .signals import Signals
from .slot import Board
from .values import Values


def main() -> int:
    """Run the job; the exit code says how its calls ended (see ``protocol``)."""
    opt_ml = OptMl.of(os.environ)
    try:
        with Signals() as signals:  # first of all: PID 1 does not notice a signal that it does not handle
            return _attend(opt_ml, signals)
    except Exception as error:
        opt_ml.write_failure("smexec: the worker failed: " + _text(call.describe(error, skip=0)))
        raise


def _attend(opt_ml: OptMl, signals: Signals) -> int:
    orders = Orders.read(opt_ml, os.environ)
    post = Post(orders, opt_ml, signals.wake)
    try:
        todo = todos.read(orders.key, orders.job, orders.todo)
        purpose = protocol.batch_purpose(todo.batch)
        header, sections = protocol.unseal(orders.key, purpose, batches.read(opt_ml.batch))
        mine = protocol.python_version(sys.version_info)
        if header["python"] != mine:
            return _refuse(opt_ml, post, _mismatch(header["python"], mine))
        batch = batches.decode(header, sections, opt_ml.shared, Values(opt_ml.values, orders.key))
    except protocol.BadSignature as error:
        return _refuse(opt_ml, post, {"outcome": protocol.BAD_SIGNATURE, "message": str(error)})
    calls = _left(todo.of(len(batch.calls)), orders, post)
    if orders.hosts.size == 1:
        return _run(batch, calls, orders, opt_ml, post, signals).code
    return _run_among_others(batch, calls, orders, opt_ml, post, signals)


def _left(calls: Sequence[int], orders: Orders, post: Post) -> Sequence[int]:
    """Of the job's calls those that are to run here: their share does not depend on what is done already."""
    done = post.journal.delivered()
    return [call for call in orders.hosts.share(calls) if call not in done]


def _run_among_others(
    batch: Batch, calls: Sequence[int], orders: Orders, opt_ml: OptMl, post: Post, signals: Signals
) -> int:
    from . import peers  # most jobs have one host, and no use for it

    peer = peers.join(orders, signals)
    end = peer.end(_run(batch, calls, orders, opt_ml, post, signals), signals)
    _state_failure(opt_ml, end)
    return end.code


def _run(
    batch: Batch, calls: Sequence[int], orders: Orders, opt_ml: OptMl, post: Post, signals: Signals
) -> End:
    if not calls:
        return End(protocol.EXIT_OK, None)
    # Not a TemporaryDirectory: that cleans up at exit, and slots, forks of ours, exit before us.
    folder = tempfile.mkdtemp(prefix="smexec-")
    try:
        slots = plan.make(len(calls), batch.slots, batch.gpus)
        work = Work(batch, calls, orders.hosts.position, slots, Board(slots.slots), Path(folder))
        monitor = Monitor(work, post, signals)
        try:
            monitor.work()
            post.finish()
            end = End(exit_code(monitor.outcomes), failure(monitor.outcomes))
            _state_failure(opt_ml, end)
            monitor.dismiss()
        finally:
            monitor.end()
        post.close()
        return end
    finally:
        shutil.rmtree(folder)


def _refuse(opt_ml: OptMl, post: Post, outcome: Header) -> int:
    opt_ml.write_failure(str(outcome["message"]))
    post.ended(protocol.ALL_CALLS, outcome)
    post.close()
    return protocol.EXIT_REFUSED


def exit_code(outcomes: Mapping[int, Header]) -> int:
    """The worker's, for what its calls ended with."""
    kinds = {outcome["outcome"] for outcome in outcomes.values()}
    if kinds <= {protocol.VALUE}:
        return protocol.EXIT_OK
    if protocol.STOPPED in kinds:
        return protocol.EXIT_STOPPED
    ended = {protocol.DIED, protocol.KILLED, protocol.OUT_OF_MEMORY, protocol.TIMED_OUT}
    return protocol.EXIT_ENDED if kinds & ended else protocol.EXIT_RAISED


def failure(outcomes: Mapping[int, Header]) -> Optional[str]:
    """What becomes FailureReason: the first exception in a line, then as much of its traceback as fits."""
    failed: Dict[int, Header] = {
        number: outcome for number, outcome in outcomes.items() if outcome["outcome"] != protocol.VALUE
    }
    if not failed:
        return None
    first = _text(next(iter(failed.values())))
    if len(outcomes) == 1:
        return first
    return "{} of {} calls failed; the first: {}".format(len(failed), len(outcomes), first)


def _text(outcome: Header) -> str:
    if "type" not in outcome:
        return str(outcome["message"])
    line = "{}: {}".format(outcome["type"], outcome["message"])[: FAILURE_LIMIT // 2]
    room = FAILURE_LIMIT - len(line) - 1
    return "{}\n{}".format(line, outcome["traceback"][-room:])


def _state_failure(opt_ml: OptMl, end: End) -> None:
    if end.failure:
        opt_ml.write_failure(end.failure)


def _mismatch(client: str, container: str) -> Header:
    message = "smexec: Python mismatch: the client runs Python {}, the container {}".format(client, container)
    return {"outcome": protocol.PYTHON_MISMATCH, "message": message, "client": client, "container": container}
