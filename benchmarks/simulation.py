"""A fan-out far larger than this machine: the pure core, driven by a virtual clock instead of AWS.

What decides is the real thing: ``packing`` makes the batches, ``rates`` paces requests, ``lifecycle`` says
what follows from what is seen, ``cadence`` when to look again (all of ``smexec.core``); the local service's
own token bucket refuses what is too fast. Simulated is what they decide about: jobs that start and work,
objects in S3, latencies, and the client's one core (each request and each listed key costs it some time, so
that a client that cannot keep up shows here).
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

import simpy

from benchmarks.setting import Setting
from benchmarks.table import Curve, Plot, Result, Table
from smexec.core import cadence, packing
from smexec.core.lifecycle import CallStarted, Job, NewsWritten, Phase, ReadNews, StatusSeen, advance
from smexec.core.rates import Bucket
from smexec.local.limits import TokenBucket
from smexec.worker import post
from smexec.worker.protocol import Event

PAGE = 1000  # keys that ListObjectsV2 gives at once
SUMMARIES = 100  # jobs that ListTrainingJobs gives at once
CONNECTIONS = 50  # requests to S3 at a time
QUOTA_SOONEST, QUOTA_LATEST = 1.0, 30.0  # seconds between two creates while no instance is free

Steps = Generator[simpy.Event, Any, None]


@dataclass(frozen=True)
class Scenario:
    """Seconds, and counts a second.

    :ivar jobs: most at a time
    :ivar seconds: that a call takes
    :ivar creates, lists: the account's rates of CreateTrainingJob and ListTrainingJobs; None: no limit
    :ivar guess: what the client takes a rate for before it has learnt it
    :ivar instances: the account's quota
    :ivar patience: how much longer a job gathers outcomes for an object than it does by itself
    :ivar request_cpu: of the client, for a request; facts: 1.4–2.2 ms
    :ivar key_cpu: for a listed key; facts: 80–120 ms a page
    :ivar outcome_cpu: for an outcome; see the benchmark ``growth``
    """

    calls: int
    jobs: int
    slots: int = 16
    seconds: float = 10.0
    creates: float | None = 1.0
    lists: float | None = 2.0
    guess: float = 2.0
    instances: int | None = None
    cold_start: float = 90.0
    patience: float = 1.0
    latency: float = 0.05
    request_cpu: float = 0.002
    key_cpu: float = 0.0001
    outcome_cpu: float = 0.0003


@dataclass
class Flown:
    """How a simulation went.

    :ivar landed: results that came, by job
    :ivar batches: calls that were packed, by job
    :ivar requests: by API
    :ivar by_second: of API and second → requests
    :ivar written: objects that jobs wrote
    :ivar listed: keys that were listed, read before or not
    :ivar latencies: per object, from the end of its oldest outcome to its results
    :ivar most: jobs at a time
    :ivar created: when the last job was
    :ivar ended: when the last call did
    :ivar drained: when the last result was there
    :ivar cpu: the client's
    :ivar cpu_by_second: the same, by second
    """

    landed: Counter[str] = field(default_factory=Counter)
    batches: dict[str, int] = field(default_factory=dict)
    requests: Counter[str] = field(default_factory=Counter)
    by_second: Counter[tuple[str, int]] = field(default_factory=Counter)
    written: int = 0
    listed: int = 0
    latencies: list[float] = field(default_factory=list)
    most: int = 0
    created: float = 0.0
    ended: float = 0.0
    drained: float = 0.0
    cpu: float = 0.0
    cpu_by_second: dict[int, float] = field(default_factory=lambda: defaultdict(float))

    @property
    def busiest(self) -> float:
        """Most CPU time of any second."""
        return max(self.cpu_by_second.values(), default=0.0)

    def peak(self, api: str) -> int:
        """Most requests for an API in any second."""
        return max((count for (name, _), count in self.by_second.items() if name == api), default=0)


def fly(scenario: Scenario) -> Flown:
    """Simulate it, to the last result."""
    return _Sky(scenario).fly()


class _Sky:
    def __init__(self, scenario: Scenario) -> None:
        self.flown = Flown()
        self._is = scenario
        self._clock = simpy.Environment()
        self._core = self._one()
        self._connections = simpy.Resource(self._clock, CONNECTIONS)
        self._packer: packing.Packer[int] = packing.Packer()
        self._numbers = itertools.count(1)
        self._followed: dict[str, Job] = {}
        self._created: list[str] = []
        self._in_flight = self._running = 0
        self._objects: list[
            tuple[str, int, float]
        ] = []  # name, outcomes, when the oldest ended: as they come
        self._contents: dict[str, tuple[int, float]] = {}
        self._tail = cadence.Tail()
        self._news = self._clock.event()
        self._done = self._clock.event()
        self._news_at = self._asked_at = 0.0
        self._buckets = {
            "CreateTrainingJob": (Bucket(scenario.guess), _service(scenario.creates), self._one()),
            "ListTrainingJobs": (Bucket(2.0, 2.0), _service(scenario.lists), self._one()),
        }

    def _one(self) -> simpy.Resource:
        """What only one can have at a time."""
        return simpy.Resource(self._clock)

    def fly(self) -> Flown:
        limit = packing.share(self._is.calls, self._is.jobs)
        kind = packing.Kind(group="map", limit=limit)
        for call in range(self._is.calls):
            self._packer.add(call, kind, size=1, now=0.0)
        self._launch_what_is_ready()
        self._clock.process(self._watch())
        self._clock.run(until=self._done)
        return self.flown

    # -- from queue to job -----------------------------------------------------------------------------

    def _launch_what_is_ready(self) -> None:
        while self._in_flight < self._is.jobs:
            batch = self._packer.take(self._clock.now, flush=True, wanted=lambda _: True)
            if not batch:
                return
            name = f"job-{next(self._numbers):05d}"
            self._in_flight += 1
            self.flown.batches[name] = len(batch)
            self._clock.process(self._launch(name, len(batch)))

    def _launch(self, name: str, calls: int) -> Steps:
        yield from self._s3("PutObject")
        delay = QUOTA_SOONEST
        while True:
            yield from self._sagemaker("CreateTrainingJob")
            if self._is.instances is None or self._running < self._is.instances:
                break
            yield self._clock.timeout(delay)
            delay = min(QUOTA_LATEST, delay * 1.5)
        self._running += 1
        self.flown.most = max(self.flown.most, self._running)
        self._created.append(name)
        self.flown.created = self._clock.now
        self._clock.process(self._work(name, calls))
        self._followed[name] = Job(name, created_at=self._clock.now)
        self._hurry()

    # -- the job ---------------------------------------------------------------------------------------

    def _work(self, name: str, calls: int) -> Steps:
        """Its slots end a call each in turn, evenly; its post sends what there is, then gathers."""
        yield self._clock.timeout(self._is.cold_start)
        start, pace = self._clock.now, self._is.seconds / min(self._is.slots, calls)
        sent = number = 0
        self._put(name, number, 0, start)  # the first calls have started
        while sent < calls:
            oldest = start + (sent + 1) * pace
            again = self._clock.now + post.interval(number + 1) * self._is.patience
            due = max(oldest, min(again, start + calls * pace))
            yield self._clock.timeout(max(0.0, due - self._clock.now))
            ended = min(calls, int((self._clock.now - start) / pace + 1e-9))
            number += 1
            self._put(name, number, ended - sent, oldest)
            sent = ended
        self._running -= 1
        self.flown.ended = self._clock.now

    def _put(self, name: str, number: int, outcomes: int, oldest: float) -> None:
        self.flown.written += 1
        event = Event(int(self._clock.now * 1000), name, number)
        self._objects.append((event.name, outcomes, oldest))
        self._contents[event.name] = (outcomes, oldest)

    # -- the tracker, step for step as smexec.engine.track does it --------------------------------------

    def _watch(self) -> Steps:
        while True:
            self._news = self._clock.event()
            if not self._followed:
                yield self._news
                continue
            yield from self._look_at_events()
            dying = any(job.is_dying for job in self._followed.values())
            if self._clock.now - self._asked_at >= cadence.status_delay(self._quiet, dying):
                yield from self._look_at_statuses()
            yield self._clock.timeout(cadence.events_delay(self._quiet, self._calls))

    def _look_at_events(self) -> Steps:
        names = self._names_after(self._tail.start_after)
        for page in range(max(1, math.ceil(len(names) / PAGE))):
            found = names[page * PAGE : (page + 1) * PAGE]
            yield from self._s3("ListObjectsV2", len(found) * self._is.key_cpu)
            self.flown.listed += len(found)
            for event in self._tail.take(found, self._followed, self._clock.now):
                self._hurry()
                self._observe(event)

    def _names_after(self, start_after: str) -> list[str]:
        newest_first = itertools.takewhile(lambda item: item[0] > start_after, reversed(self._objects))
        return sorted(name for name, _, _ in newest_first)

    def _observe(self, event: Event) -> None:
        self._followed[event.job], actions = advance(self._followed[event.job], NewsWritten(event.name))
        for action in actions:
            assert isinstance(action, ReadNews)
            self._clock.process(self._read(event.job, action.uri))

    def _look_at_statuses(self) -> Steps:
        """Newest first, until all that are followed have been seen."""
        if not self._followed:  # the last one landed while events were listed
            return
        oldest = self._created.index(next(iter(self._followed)))
        for _ in range(math.ceil((len(self._created) - oldest) / SUMMARIES)):
            yield from self._sagemaker("ListTrainingJobs")
        self._asked_at = self._clock.now
        for name, job in list(self._followed.items()):
            status = StatusSeen(Phase.RUNNING if job.running else Phase.STARTING)
            self._followed[name], _ = advance(job, status)

    def _read(self, name: str, object_name: str) -> Steps:
        outcomes, oldest = self._contents.pop(object_name)
        yield from self._s3("GetObject", outcomes * self._is.outcome_cpu)
        if name in self._followed:
            self._followed[name], _ = advance(self._followed[name], CallStarted())
        self._land(name, outcomes, oldest)

    def _land(self, name: str, outcomes: int, oldest: float) -> None:
        self.flown.landed[name] += outcomes
        if outcomes:
            self.flown.latencies.append(self._clock.now - oldest)
        if self.flown.landed[name] == self.flown.batches[name]:
            del self._followed[name]
            self._in_flight -= 1
            self._launch_what_is_ready()
        if not self._in_flight:
            self.flown.drained = self._clock.now
            self._done.succeed()

    @property
    def _quiet(self) -> float:
        return self._clock.now - self._news_at

    @property
    def _calls(self) -> int:
        return sum(self.flown.batches[name] - self.flown.landed[name] for name in self._followed)

    def _hurry(self) -> None:
        self._news_at = self._clock.now
        if not self._news.triggered:
            self._news.succeed()

    # -- requests --------------------------------------------------------------------------------------

    def _s3(self, api: str, cpu: float = 0.0) -> Steps:
        with self._connections.request() as connection:
            yield connection
            yield from self._request(api, cpu)

    def _sagemaker(self, api: str) -> Steps:
        """Until the service takes it."""
        bucket, service, turn = self._buckets[api]
        while True:
            with turn.request() as mine:
                yield mine
                while delay := bucket.take(self._clock.now):
                    yield self._clock.timeout(delay)
            yield from self._request(api)
            if service is None or service.take(self._clock.now):
                bucket.succeeded()
                return
            bucket.throttled(self._clock.now)

    def _request(self, api: str, cpu: float = 0.0) -> Steps:
        self.flown.requests[api] += 1
        self.flown.by_second[api, int(self._clock.now)] += 1
        yield self._clock.timeout(self._is.latency)
        with self._core.request() as core:
            yield core
            yield self._clock.timeout(self._is.request_cpu + cpu)
        self.flown.cpu += self._is.request_cpu + cpu
        self.flown.cpu_by_second[int(self._clock.now)] += self._is.request_cpu + cpu


def _service(rate: float | None) -> TokenBucket | None:
    return None if rate is None else TokenBucket.full(rate, 0.0)


# -- as a benchmark ------------------------------------------------------------------------------------------

#: What AWS allows a new account with a quota of 100, and a client's worst: all of its jobs at once.
_QUICK = {
    "4 jobs, 10³ calls": Scenario(1_000, 4),
    "100 jobs, 10⁴ calls": Scenario(10_000, 100),
    "100 jobs at once, 10⁴ calls": Scenario(10_000, 100, creates=None),
}
_ALL = {
    **_QUICK,
    "1,000 jobs, 10⁵ calls": Scenario(100_000, 1000),
    "1,000 jobs, 10⁶ calls": Scenario(1_000_000, 1000),
    "1,000 jobs at once, 10⁶ calls": Scenario(1_000_000, 1000, creates=None),
    "the same, patient": Scenario(1_000_000, 1000, creates=None, patience=10.0),
}
_APIS = ("CreateTrainingJob", "ListTrainingJobs", "PutObject", "ListObjectsV2", "GetObject")


def simulation(setting: Setting) -> Result:
    """Up to 10⁶ calls on 1,000 jobs, by a virtual clock: requests and the time to drain."""
    table = Table(
        "Simulated: calls of 10 s, 16 slots a job, 90 s cold, 1 create and 2 lists a second",
        ("scenario", "all created after s", "most jobs", "ended after s", "drained after s more",
         "result after s: median, most", "client CPU s", "busiest second's CPU"),
        notes=["At once: without a limit of creates. Patient: a job gathers outcomes for 10 s, not 1 s."],
    )  # fmt: skip
    requests = Table(
        "Requests of the client, in all and in the busiest second",
        ("scenario", *_APIS, "a call: SageMaker", "a call: S3", "keys listed ÷ written"),
    )
    curves = {api: Curve(f"{api} a call", []) for api in _APIS}
    for name, scenario in (_QUICK if setting.quick else _ALL).items():
        flown = fly(scenario)
        _add(table, name, flown)
        _add_requests(requests, name, flown, scenario.calls)
        if scenario.creates:
            for api, curve in curves.items():
                curve.points.append((scenario.calls, flown.requests[api] / scenario.calls))
    plot = Plot("simulation", "Simulated requests", "calls", list(curves.values()))
    return Result([table, requests], [plot])


def _add(table: Table, name: str, flown: Flown) -> None:
    latencies = f"{statistics.median(flown.latencies):.1f}, {max(flown.latencies):.1f}"
    table.add(
        name, f"{flown.created:,.0f}", f"{flown.most:,}", f"{flown.ended:,.0f}",
        f"{flown.drained - flown.ended:.1f}", latencies, f"{flown.cpu:,.1f}", f"{flown.busiest:.0%}",
    )  # fmt: skip


def _add_requests(table: Table, name: str, flown: Flown, calls: int) -> None:
    counts = [f"{flown.requests[api]:,} ({flown.peak(api)})" for api in _APIS]
    sagemaker = flown.requests["CreateTrainingJob"] + flown.requests["ListTrainingJobs"]
    s3 = flown.requests.total() - sagemaker
    listed = f"{flown.listed / flown.written:.1f}"
    table.add(name, *counts, f"{sagemaker / calls:.4f}", f"{s3 / calls:.4f}", listed)
