"""The monitor: hands calls to slots, watches them, and lives to tell how each of them ended."""

from __future__ import annotations

import os
import select
import signal
import time
from collections import deque
from pathlib import Path
from typing import Deque, Dict, Optional

from . import protocol
from .batch import Batch
from .container import oom_kills
from .nursery import Death, Nursery
from .plan import Plan
from .post import Post
from .protocol import Header
from .signals import Signals
from .slot import Frame, Link

LINGER = 30.0  # seconds for slots to end by themselves (atexit handlers) after the last outcome
GRACE = 110.0  # seconds to end after SIGTERM; the platform kills after 120


class Monitor:
    """Runs one batch.

    :ivar outcomes: what is said of each call that has ended, in the order of their ends
    """

    def __init__(self, batch: Batch, plan: Plan, folder: Path, post: Post, signals: Signals) -> None:
        self.outcomes: Dict[int, Header] = {}
        self._batch = batch
        self._plan = plan
        self._post = post
        self._signals = signals
        self._queue: Deque[int] = deque(range(len(batch.calls)))
        self._links: Dict[int, Link] = {}  # by slot
        self._kills = oom_kills()
        self._nursery = Nursery.start(batch, plan, folder, signals)
        self._nursery_lives = True

    def work(self) -> None:
        """Return when every call has an outcome."""
        for slot in range(self._plan.slots):
            self._nursery.ask_for(slot)
        while len(self.outcomes) < len(self._batch.calls) and not self._signals.terminated:
            self._wait()
        if len(self.outcomes) < len(self._batch.calls):
            self._stop()

    def dismiss(self) -> None:
        """Let the slots end by themselves, for a while; then nothing of the batch runs any more."""
        deadline = time.monotonic() + (GRACE if self._signals.terminated else LINGER)
        for link in self._links.values():
            link.dismiss()
        while self._links and self._nursery_lives and time.monotonic() < deadline:
            self._wait(deadline)

    def end(self) -> None:
        """Kill what is left."""
        for link in self._links.values():
            link.send(signal.SIGKILL)
            link.connection.close()
        self._nursery.close()
        if self._nursery_lives:
            os.waitpid(self._nursery.pid, 0)

    # -- one step of waiting ----------------------------------------------------------------------------

    def _wait(self, until: Optional[float] = None) -> None:
        links = list(self._links.values())
        nursery = [self._nursery] if self._nursery_lives else []
        readable = select.select([self._signals.reader, *nursery, *links], [], [], self._patience(until))[0]
        self._signals.drain()
        for link in links:
            if link in readable:
                self._hear(link)
        if self._nursery in readable:
            self._hear_nursery()
        self._enforce_limits()

    def _patience(self, until: Optional[float]) -> Optional[float]:
        times = [link.deadline for link in self._links.values() if link.deadline is not None]
        times += [until] if until is not None else []
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _hear(self, link: Link) -> None:
        frame = link.receive()
        if frame is not None:
            self._ended(frame)
            self._give_next(link)

    def _hear_nursery(self) -> None:
        told = self._nursery.receive()
        if told is None:
            self._nursery_died()
        elif isinstance(told, Death):
            self._slot_died(told)
        else:
            self._links[told.number] = told
            self._give_next(told)

    def _give_next(self, link: Link) -> None:
        if self._queue and not self._signals.terminated:
            call = self._queue.popleft()
            timeout = self._batch.timeout
            self._post.started([call])
            link.give(call, None if timeout is None else time.monotonic() + timeout)

    def _enforce_limits(self) -> None:
        now = time.monotonic()
        for link in self._links.values():
            if link.deadline is not None and link.deadline <= now and link.call is not None:
                message = "the call ran into timeout_per_call={}".format(self._batch.timeout)
                self._state(link.call, {"outcome": protocol.TIMED_OUT, "message": message})
                link.call = link.deadline = None
                link.send(signal.SIGKILL)

    # -- ends ---------------------------------------------------------------------------------------------

    def _ended(self, frame: Frame) -> None:
        if frame.call not in self.outcomes:
            self.outcomes[frame.call] = frame.header
            self._post.ended(frame.call, frame.header, frame.file or frame.sections)

    def _state(self, call: int, outcome: Header) -> None:
        """An outcome that the worker states itself."""
        self._ended(Frame(call, outcome, b"", None))

    def _slot_died(self, death: Death) -> None:
        link = self._links.pop(death.slot, None)
        if link is None:
            return
        self._hear_last(link)
        if link.call is not None:
            kills = oom_kills()
            self._state(link.call, _death(death.status, kills - self._kills))
            self._kills = kills
        link.send(signal.SIGKILL)  # what the call has left running in its group
        link.connection.close()
        if self._queue and not self._signals.terminated:
            self._nursery.ask_for(death.slot)

    def _hear_last(self, link: Link) -> None:
        frame = link.receive()
        if frame is not None:
            self._ended(frame)

    def _nursery_died(self) -> None:
        """Something that is imported crashed it, or it ran out of memory: no call can be started any more."""
        self._nursery_lives = False
        _, status = os.waitpid(self._nursery.pid, 0)
        outcome = _death(status, oom_kills() - self._kills)
        outcome["message"] += " while the batch's functions were loaded, or slots were forked"
        for call in range(len(self._batch.calls)):
            if call not in self.outcomes:
                self._state(call, outcome)

    def _stop(self) -> None:
        """SIGTERM came. The word goes out first; then the calls may use the grace to save what they have."""
        message = "the job was told to stop (SIGTERM)"
        for call in range(len(self._batch.calls)):
            if call not in self.outcomes:
                self._state(call, {"outcome": protocol.STOPPED, "message": message})
        for link in self._links.values():
            link.send(signal.SIGTERM)


def _death(status: int, oom_kills: int) -> Header:
    if not os.WIFSIGNALED(status):
        code = os.WEXITSTATUS(status)
        message = "the call's process ended by itself with exit code {}".format(code)
        return {"outcome": protocol.DIED, "message": message, "code": code}
    number = os.WTERMSIG(status)
    kind = protocol.OUT_OF_MEMORY if oom_kills > 0 and number == signal.SIGKILL else protocol.KILLED
    message = "the call's process was killed by signal {}{}".format(
        number, ": out of memory" if kind == protocol.OUT_OF_MEMORY else ""
    )
    return {"outcome": kind, "message": message, "signal": number}


