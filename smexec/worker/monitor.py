"""The monitor: hands calls to slots, watches them, and lives to tell how each of them ended."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections import deque
from typing import Callable, Deque, Dict, List, Optional, Tuple

from . import protocol
from .container import oom_kills
from .nursery import Death, Loading, Nursery, Refused, Work
from .post import Post
from .protocol import Header
from .signals import Signals
from .slot import Frame, Link

LINGER = 30.0  # seconds for slots to end by themselves (atexit handlers) after the last outcome
GRACE = 110.0  # seconds to end after SIGTERM; the platform kills after 120
_LONGEST = 3600.0  # seconds; poll takes no more than 24 days
_TRIES = 3  # new slots that may die under a call before it has begun


class Monitor:
    """Runs one batch.

    :ivar outcomes: what is said of each call that has ended, in the order of their ends
    """

    def __init__(self, work: Work, post: Post, signals: Signals) -> None:
        self.outcomes: Dict[int, Header] = {}
        self._work = work
        self._batch = work.batch
        self._post = post
        self._signals = signals
        self._queue: Deque[int] = deque(work.calls)
        self._links: Dict[int, Link] = {}  # by process
        self._idle: List[Link] = []  # those that could have a call, while the post is behind
        self._deadlines: Deque[Tuple[float, Link, int]] = deque()  # of calls, the next first
        self._stillborn: Dict[int, int] = {}  # call → new slots that died before it began
        self._fatal: Dict[int, Header] = {}  # object → what the nursery died of when it loaded it
        self._loading: Optional[int] = None
        self._unborn = 0  # slots that the nursery is to fork
        self._dismissed = False
        self._kills = oom_kills()
        self._poll = select.poll()
        self._listeners: Dict[int, Callable[[], None]] = {}  # descriptor → what to do when it is readable
        self._listen(signals.reader, self._hear_signals)
        self._breed()

    def work(self) -> None:
        """Return when every call has an outcome."""
        while self._is_unfinished and not self._signals.terminated:
            self._wait()
        if self._is_unfinished:
            self._stop()

    def dismiss(self) -> None:
        """Let the slots end by themselves, for a while; then nothing of the batch runs any more."""
        deadline = time.monotonic() + (GRACE if self._signals.terminated else LINGER)
        self._dismissed = True
        for link in self._links.values():
            link.dismiss()
        while self._links and self._nursery and time.monotonic() < deadline:
            self._wait(deadline)

    def end(self) -> None:
        """Kill what is left."""
        for link in self._links.values():
            link.kill()
            link.close()
        if self._nursery:
            self._nursery.end()
            os.waitpid(self._nursery.pid, 0)

    @property
    def _is_unfinished(self) -> bool:
        return len(self.outcomes) < len(self._work.calls)

    # -- one step of waiting ------------------------------------------------------------------------------

    def _wait(self, until: Optional[float] = None) -> None:
        for descriptor, _ in self._poll.poll(self._patience(until)):
            listener = self._listeners.get(descriptor)
            if listener:  # else what was heard before has ended it
                listener()
        self._enforce_timeouts()
        while self._idle and self._post.has_room:
            self._give_next(self._idle.pop())

    def _patience(self, until: Optional[float]) -> Optional[float]:
        """In milliseconds; None: for ever."""
        times = [self._deadlines[0][0]] if self._deadlines else []
        times += [until] if until is not None else []
        return min(_LONGEST, max(0.0, min(times) - time.monotonic())) * 1000 + 1 if times else None

    def _listen(self, descriptor: int, listener: Callable[[], None]) -> None:
        self._listeners[descriptor] = listener
        self._poll.register(descriptor, select.POLLIN)

    def _unlisten(self, descriptor: int) -> None:
        if self._listeners.pop(descriptor, None):
            self._poll.unregister(descriptor)

    def _hear_signals(self) -> None:
        """SIGTERM, a process that has ended, or the post has room again."""
        self._signals.drain()
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)  # as PID 1 we inherit orphans as well
                if not pid:
                    break
                if self._nursery and pid == self._nursery.pid:
                    self._nursery_died(self._nursery, status)

    # -- slots ---------------------------------------------------------------------------------------------

    def _hear(self, link: Link) -> None:
        frame = link.receive()
        if link.hung_up:  # its end will be told; to be woken until then would be of no use
            self._unlisten(link.fileno())
        if frame is not None:
            self._ended(frame)
            self._give_next(link)
        if link.retired:
            self._replace(link)

    def _replace(self, link: Link) -> None:
        """Have another process for this slot, if there is anything to do."""
        if not link.replaced and self._queue and not self._signals.terminated and self._nursery:
            link.replaced = True
            self._unborn += 1
            self._nursery.ask_for(link.number)

    def _give_next(self, link: Link) -> None:
        if link.doomed or link.hung_up or link.retired or self._signals.terminated:
            return
        if not self._post.has_room:
            self._idle.append(link)
        elif self._queue:
            call = self._queue.popleft()
            if self._batch.timeout is not None:
                self._deadlines.append((time.monotonic() + self._batch.timeout, link, call))
            self._post.started(call)
            link.give(call)

    def _enforce_timeouts(self) -> None:
        now = time.monotonic()
        while self._deadlines and self._deadlines[0][0] <= now:
            _, link, call = self._deadlines.popleft()
            if link.call == call and not link.doomed:
                message = "the call ran into timeout_per_call={}".format(self._batch.timeout)
                self._state(call, {"outcome": protocol.TIMED_OUT, "message": message})
                link.kill()

    def _slot_died(self, death: Death) -> None:
        link = self._links.pop(death.pid)
        frame = link.receive()
        if frame is not None:
            self._ended(frame)
        if link.call is not None:
            self._lost(link, link.call, death.status)
        link.kill()  # what the call has left running in its group
        self._unlisten(link.fileno())
        link.close()
        if link in self._idle:
            self._idle.remove(link)
        self._replace(link)

    def _lost(self, link: Link, call: int, status: int) -> None:
        """A slot died that had a call. If it was between two calls, that says nothing of this one."""
        deaths = self._stillborn.get(call, 0) + (not link.has_served)
        if self._work.board.has_begun(link.number, call) or deaths >= _TRIES:
            self._state(call, self._death(status))
        elif call not in self.outcomes:
            self._stillborn[call] = deaths
            self._queue.appendleft(call)

    # -- the nursery ---------------------------------------------------------------------------------------

    def _breed(self) -> None:
        nursery = Nursery.start(self._work, self._fatal, self._signals)
        self._nursery: Optional[Nursery] = nursery
        self._unborn = self._work.plan.slots
        self._listen(nursery.fileno(), lambda: self._hear_nursery(nursery))

    def _hear_nursery(self, nursery: Nursery) -> None:
        while True:
            told = nursery.receive()
            if told is None:
                break
            if isinstance(told, Loading):
                self._heed_loading(told.object)
            elif isinstance(told, Refused):
                self._slot_refused(told)
            elif isinstance(told, Link):
                self._slot_born(told)
            elif told.pid in self._links:
                self._slot_died(told)
        if nursery.hung_up:
            self._unlisten(nursery.fileno())

    def _heed_loading(self, number: Optional[int]) -> None:
        self._loading = number
        if number is None and self._fatal:
            self._state_fatal()

    def _slot_born(self, link: Link) -> None:
        self._unborn -= 1
        self._links[link.pid] = link
        self._listen(link.fileno(), lambda: self._hear(link))
        if self._dismissed:
            link.dismiss()
        else:
            self._give_next(link)

    def _slot_refused(self, refused: Refused) -> None:
        """The others do its work, if there are any."""
        self._unborn -= 1
        if not self._links and not self._unborn:
            message = "no process can be started for a call: {}".format(refused.why)
            raise OSError(message)

    def _nursery_died(self, nursery: Nursery, status: int) -> None:
        self._nursery = None
        self._hear_nursery(nursery)  # what it has told before
        self._unlisten(nursery.fileno())
        nursery.end()
        if self._loading is None:
            self._hear_all()
            self._state_all(self._death(status, "the process that slots are forked from"))
        elif not self._signals.terminated:
            self._fatal[self._loading] = self._death(status, self._who_loaded(self._loading))
            if all(self._fatal_of(call) for call in self._queue):
                self._state_fatal()
            else:
                self._breed()

    def _state_fatal(self) -> None:
        """Nothing was said before: the nursery must not be forked from a process that has threads."""
        queue, self._queue = self._queue, deque()
        for call in queue:
            fatal = self._fatal_of(call)
            if fatal:
                self._state(call, fatal)
            else:
                self._queue.append(call)

    def _fatal_of(self, call: int) -> Optional[Header]:
        """What the nursery died of when it loaded what this call needs."""
        deaths = (self._fatal.get(number) for number in self._batch.calls[call].objects)
        return next(filter(None, deaths), None)

    def _who_loaded(self, number: int) -> str:
        is_function = any(call.function == number for call in self._batch.calls)
        what = "the call's function" if is_function else "a large argument of the call"
        return "the process that loaded " + what

    # -- ends ----------------------------------------------------------------------------------------------

    def _ended(self, frame: Frame) -> None:
        if frame.call not in self.outcomes:
            self.outcomes[frame.call] = frame.header
            self._post.ended(frame.call, frame.header, frame.sections)

    def _state(self, call: int, outcome: Header) -> None:
        """An outcome that the worker states itself."""
        self._ended(Frame(call, outcome, b""))

    def _state_all(self, outcome: Header) -> None:
        """Of every call that has none yet."""
        for call in self._work.calls:
            self._state(call, outcome)

    def _hear_all(self) -> None:
        for link in self._links.values():
            frame = link.receive()
            if frame is not None:
                self._ended(frame)

    def _stop(self) -> None:
        """SIGTERM came. The word goes out first; then the calls may use the grace to save what they have."""
        self._hear_all()
        message = "the job was told to stop (SIGTERM)"
        outcome = {"outcome": protocol.STOPPED, "message": message, "host": self._work.host}
        for call in self._work.calls:
            self.outcomes.setdefault(call, outcome)
        self._post.ended(protocol.ALL_CALLS, outcome)  # one word for all
        for link in self._links.values():
            link.send(signal.SIGTERM)

    def _death(self, status: int, who: str = "the call's process") -> Header:
        """What is said of a call if a process ended so."""
        if not os.WIFSIGNALED(status):
            code = os.WEXITSTATUS(status)
            message = "{} ended by itself with exit code {}".format(who, code)
            return {"outcome": protocol.DIED, "message": message, "code": code}
        number = os.WTERMSIG(status)
        message = "{} was killed by signal {}".format(who, number)
        if number == signal.SIGKILL and oom_kills() > self._kills:
            self._kills += 1  # one by one: several may have been killed by now
            return {
                "outcome": protocol.OUT_OF_MEMORY,
                "message": message + ": out of memory",
                "signal": number,
            }
        return {"outcome": protocol.KILLED, "message": message, "signal": number}
