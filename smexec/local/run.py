"""One job's life: Starting → Downloading → Training → Uploading → its end.

The statuses are written through :class:`~smexec.local.jobs.Job`; here is what happens between them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import tempfile
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Coroutine, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import aioboto3
from aiobotocore.config import AioConfig

from smexec.local.config import ServiceConfig
from smexec.local.containers import engine_named
from smexec.local.host import GATE, HostRun, Surroundings
from smexec.local.jobs import DOWNLOADING_IMAGE, LAUNCHING, PREPARING, Interruption, Job
from smexec.local.layout import JobFailure
from smexec.local.limits import WarmPools, take_capacity_error
from smexec.local.logs import PROCESSING, TRAINING, TRANSFORM, create_group
from smexec.local.transfer import Storage

INTERNAL_ERROR = "InternalServerError: We encountered an internal error. Please try again."
CAPACITY_ERROR = (
    "CapacityError: Unable to provision requested ML compute capacity. "
    "Please retry using a different ML instance type."
)
CAPACITY_SECONDS = 0.05  # between looks whether there is spot capacity again

logger = logging.getLogger(__name__)

J = TypeVar("J", bound=Job)


@dataclass
class Platform:
    """What a job's run needs of the service.

    Attributes:
        config: the settings; the live ones may change at any time.
        directory: scratch space, removed when the service ends.
        warm_pools: the instances that ended jobs have left.
        around: what the hosts need; its clients go to moto itself: not counted, hit by no fault.
    """

    config: ServiceConfig
    directory: Path
    warm_pools: WarmPools
    around: Surroundings


@asynccontextmanager
async def running_platform(
    config: ServiceConfig, directory: Path, endpoint_url: str, moto_url: str, warm_pools: WarmPools
) -> AsyncIterator[Platform]:
    """A platform whose clients are open for the block."""
    session = aioboto3.Session(
        aws_access_key_id="platform",
        aws_secret_access_key="unchecked",  # noqa: S106
        region_name=config.region,
    )
    # moto checks neither signatures nor checksums, which cost more than the requests.
    options = AioConfig(
        max_pool_connections=64,
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    async with AsyncExitStack() as stack:
        s3, logs = [
            await stack.enter_async_context(session.client(name, endpoint_url=moto_url, config=options))
            for name in ("s3", "logs")
        ]
        engine = engine_named(config.engine, config.memory, directory, lambda: config.image)
        engine.prepare()
        for group in (TRAINING, PROCESSING, TRANSFORM):
            await create_group(logs, group)
        gate = directory / GATE
        around = Surroundings(engine, Storage(s3), logs, config.region, endpoint_url, gate)
        yield Platform(config, directory, warm_pools, around)


async def run_job(run: Run[Any]) -> None:
    """Run a job from its creation to its end. An error of ours ends it as the service's own errors do."""
    try:
        await run.live()
    except JobFailure as failure:
        run.job.fail(str(failure))
    except Exception:
        logger.exception("the run of %s failed", run.job.name)
        run.job.fail(INTERNAL_ERROR)


class Stopped(Exception):
    """The job was stopped, or has run out of time."""


class Reclaimed(Exception):
    """The instances are gone; the job goes on with others. ``status`` is what it shows meanwhile."""

    def __init__(self, status: str) -> None:
        super().__init__(status)
        self.status = status


class Run(ABC, Generic[J]):
    """One job on its way; see :func:`run_job`."""

    def __init__(self, job: J, platform: Platform) -> None:
        self.job = job
        self._platform = platform
        self._config = platform.config
        self._retries = job.request.get("RetryStrategy", {}).get("MaximumRetryAttempts", 0)
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._end = "Stopped"

    @abstractmethod
    def hosts(self, directory: Path) -> Sequence[HostRun]:
        """Its hosts, each with a directory of its own below that one."""

    @abstractmethod
    async def keep(self, hosts: Sequence[Any], directory: Path) -> None:
        """Upload what was made, of failed and stopped jobs too; ``directory`` is for temporary files.

        Raises:
            JobFailure: S3 does not take it.
        """

    def take_warm(self) -> bool:
        """Whether instances wait for it, which are its own then."""
        return False

    async def live(self) -> None:
        """Try until an attempt is not interrupted.

        Raises:
            JobFailure: with the job's FailureReason.
        """
        if self.job.spot:
            self._limit("MaxWaitTimeExceeded", self.job.request["StoppingCondition"]["MaxWaitTimeInSeconds"])
        try:
            while not await self._attempted():
                pass
        except Stopped:
            self.job.stopped(self._end)
        finally:
            for timer in self._timers.values():
                timer.cancel()

    async def _attempted(self) -> bool:
        """Whether the job is done; False if its instances were taken away."""
        await self._unless_stopped(self._start())
        async with scratch(self._platform.directory) as directory:
            hosts = self.hosts(directory)
            await self._unless_stopped(self._download(hosts))
            try:
                reason = await self._train(hosts)
            except Reclaimed as reclaimed:
                self.job.enter(reclaimed.status)
                return False
            self._timers.pop("MaxRuntimeExceeded").cancel()  # uploading takes the time it takes
            await self._upload(hosts, directory, reason)
            self.job.complete()
        return True

    # -- the phases ----------------------------------------------------------------------------------------

    async def _start(self) -> None:
        """Find instances: warm ones, or new ones if there is capacity."""
        self.job.enter("Starting", LAUNCHING)
        warm = self.take_warm()
        while not warm and take_capacity_error(self.job, self._config):
            if not self.job.spot:
                raise JobFailure(CAPACITY_ERROR)
            await asyncio.sleep(CAPACITY_SECONDS)  # spot jobs wait for it
        self.job.enter("Starting", PREPARING)
        await asyncio.sleep(self._config.warm_start if warm else self._config.cold_start)
        await self._linger()

    async def _download(self, hosts: Sequence[HostRun]) -> None:
        self.job.enter("Downloading")
        self._limit("MaxRuntimeExceeded", self.job.max_runtime)
        await asyncio.gather(*(host.prepare() for host in hosts))
        self.job.enter("Downloading", DOWNLOADING_IMAGE)
        await self._linger()

    async def _train(self, hosts: Sequence[HostRun]) -> str | None:
        """Run all hosts to their end: a FailureReason, or None if all is well or the job was stopped.

        Raises:
            Reclaimed: the instances are gone.
            JobFailure: a container could not run at all.
        """
        self.job.enter("Training")
        running = {asyncio.create_task(host.run()): host for host in hosts}
        try:
            reason = await self._watch(running)
        finally:  # one host's end by failure is the end of all; so is the service's own
            for host in hosts:
                host.kill()
            await asyncio.gather(*running, return_exceptions=True)
        await self._linger()
        return reason

    async def _watch(self, running: dict[asyncio.Task[int], HostRun]) -> str | None:
        """Until all hosts have ended, one has failed, or something else ends them."""
        pending = set(running)
        stop = asyncio.create_task(self.job.stop_requested.wait())
        order = asyncio.create_task(self.job.interruptions.get())
        try:
            while pending:
                done, _ = await asyncio.wait({*pending, stop, order}, return_when=asyncio.FIRST_COMPLETED)
                for task in [task for task in pending if task in done]:
                    code = task.result()
                    if code:
                        return running[task].failure_reason(code)
                    pending.discard(task)
                if stop in done:
                    await self._end_gently(running)
                    return None
                if order in done:
                    await self._obey(order.result(), running)
                    order = asyncio.create_task(self.job.interruptions.get())
            return None
        finally:
            await cancelled(stop, order)

    async def _obey(self, order: Interruption, running: dict[asyncio.Task[int], HostRun]) -> None:
        """What a test wants to happen to the job."""
        if order == "interrupt":
            self.job.enter("Interrupted")
            await self._end_gently(running)
            await save_all(running.values())
            raise Reclaimed("Interrupted")
        for host in running.values():
            host.kill()
        if order == "internal-error":
            if not self._retries:
                raise JobFailure(INTERNAL_ERROR)
            self._retries -= 1
            raise Reclaimed("Restarting")

    async def _end_gently(self, running: dict[asyncio.Task[int], HostRun]) -> None:
        """SIGTERM, time to react, SIGKILL."""
        for host in running.values():
            host.terminate()
        await asyncio.wait(running, timeout=self._config.stop_grace)
        for host in running.values():
            host.kill()
        await asyncio.wait(running)

    async def _upload(self, hosts: Sequence[HostRun], directory: Path, reason: str | None) -> None:
        """Keep what was made, of failed and stopped jobs too.

        Raises:
            JobFailure: with the reason, or because the upload failed.
        """
        self.job.enter("Uploading")
        try:
            await save_all(hosts)
            await self.keep(hosts, directory)
        except JobFailure as failure:
            reason = reason or str(failure)
        await self._linger()
        if self.job.stop_requested.is_set():
            raise Stopped
        if reason:
            raise JobFailure(reason)

    # -- time ----------------------------------------------------------------------------------------------

    async def _linger(self) -> None:
        """Stay in the phase for the least time that is configured; a stop ends it, and begins its own."""
        phase, stop = self.job.transitions[-1], self.job.stop_requested
        remaining = self._config.delays.get(phase.status, 0.0) - phase.seconds(self.job.clock())
        if stop.is_set() or phase.status == "Uploading":
            await asyncio.sleep(remaining)
        elif remaining > 0:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(stop.wait(), remaining)
                await self._linger()

    def _limit(self, status: str, seconds: float) -> None:
        """Stop the job after that time, if it is not limited already."""
        if status not in self._timers:
            self._timers[status] = asyncio.get_running_loop().call_later(seconds, self._time_is_up, status)

    def _time_is_up(self, status: str) -> None:
        if not self.job.stop_requested.is_set():
            self._end = status
            self.job.stop()

    async def _unless_stopped(self, work: Coroutine[Any, Any, None]) -> None:
        """Do the work, or as much of it as can be done until the job is stopped.

        Raises:
            Stopped: it was.
        """
        doing, stop = asyncio.create_task(work), asyncio.create_task(self.job.stop_requested.wait())
        try:
            await asyncio.wait({doing, stop}, return_when=asyncio.FIRST_COMPLETED)
            if not stop.done():
                return doing.result()
        finally:
            await cancelled(doing, stop)
        await self._linger()
        raise Stopped


async def save_all(hosts: Iterable[HostRun]) -> None:
    """What has changed since the last look.

    Raises:
        JobFailure: S3 does not take it.
    """
    await asyncio.gather(*(host.save() for host in hosts))


async def cancelled(*tasks: asyncio.Task[Any]) -> None:
    """Cancel what is not done, and wait for it."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def scratch(parent: Path) -> AsyncIterator[Path]:
    """A directory for the block. Names below are short, since sockets' paths must be, too."""
    directory = tempfile.TemporaryDirectory(prefix="", dir=parent, ignore_cleanup_errors=True)
    try:
        yield Path(directory.name)
    finally:
        await asyncio.to_thread(directory.cleanup)
