"""The service as a whole: its parts, put together, started in order and ended in reverse.

HTTP comes in at :mod:`~smexec.local.front`; SageMaker is :mod:`~smexec.local.api`, CodeBuild
:mod:`~smexec.local.codebuild_api`, the rest is moto's; jobs are run by :mod:`~smexec.local.run`, builds by
:mod:`~smexec.local.codebuild_run`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from aiobotocore.session import get_session

from smexec.local.account import Account
from smexec.local.api import Api, Desk, TagApi
from smexec.local.checks import PRINCIPAL, Preconditions
from smexec.local.codebuild import Build
from smexec.local.codebuild_api import PRINCIPAL as BUILDER
from smexec.local.codebuild_api import CodeBuildApi
from smexec.local.codebuild_run import run_build
from smexec.local.config import ServiceConfig
from smexec.local.control import ControlApi
from smexec.local.doors import gate
from smexec.local.front import Front
from smexec.local.host import GATE
from smexec.local.hosting import Hosting
from smexec.local.jobs import Job
from smexec.local.limits import WarmPools
from smexec.local.model import service_model
from smexec.local.moto_server import MotoServer
from smexec.local.processing import ProcessingJob
from smexec.local.processing_api import ProcessingApi
from smexec.local.processing_run import ProcessingRun
from smexec.local.proxy import Proxy
from smexec.local.run import Platform, Run, run_job, running_platform
from smexec.local.runtime import Runtime
from smexec.local.serving_api import EndpointApi, EndpointConfigApi, ModelApi
from smexec.local.traffic import Traffic
from smexec.local.training import TrainingJob
from smexec.local.training_api import TrainingApi
from smexec.local.training_run import TrainingRun
from smexec.local.transform import TransformJob
from smexec.local.transform_api import TransformApi
from smexec.local.transform_run import TransformRun

ACCESS_KEY = "AKIAIOSFODNN7EXAMPLE"
SECRET_KEY = "local-service-checks-no-signatures"  # noqa: S105 - a dummy that is printed to everyone
ROLE_NAME = "smexec-local"

RUNS: dict[type[Job], Callable[[Any, Platform], Run[Any]]] = {
    TrainingJob: TrainingRun,
    ProcessingJob: ProcessingRun,
    TransformJob: TransformRun,
}
_BACKLOG = 1024
_FIRST_LEASE_SECONDS = 60.0
_log = logging.getLogger("smexec.local")


class Leases:
    """Counts the clients that hold the service, and tells when it is no longer wanted."""

    def __init__(self, grace: float | None, end: Callable[[], None]) -> None:
        self._grace = grace
        self._end = end
        self._count = 0
        self._timer: asyncio.TimerHandle | None = None

    def expect(self) -> None:
        """Wait for the first: a client that dies before it takes its lease leaves no service behind."""
        if not self._count:
            self._start_timer(_FIRST_LEASE_SECONDS)

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Hold a lease."""
        self._count += 1
        self.cancel()
        try:
            yield
        finally:
            self._count -= 1
            if not self._count:
                self._start_timer(0.0)

    def keep(self) -> None:
        """Go on without leases, until told to end."""
        self.cancel()
        self._grace = None

    def cancel(self) -> None:
        """Stop the countdown."""
        if self._timer is not None:
            self._timer.cancel()

    def _start_timer(self, least: float) -> None:
        if self._grace is not None:
            self._timer = asyncio.get_running_loop().call_later(max(least, self._grace), self._end)


class Service:
    """The running service; made by :func:`running_service`.

    Attributes:
        config: its settings; the live ones may change at any time.
        account: what has been created in SageMaker.
        traffic: the requests that came in, and the faults that wait for the next.
        leases: who holds the service.
        end: set to end it.
        bucket: name of the account's default bucket.
        role: ARN of a role that SageMaker may assume.
    """

    def __init__(self, config: ServiceConfig) -> None:
        self.config = config
        self.account = Account(config)
        self.traffic = Traffic(config)
        self.end = asyncio.Event()
        self.leases = Leases(config.lease_grace, self.end.set)
        self.bucket = f"sagemaker-{config.region}-{config.account}"
        self.role = ""
        self.endpoint_url = ""
        self._runs: set[asyncio.Task[None]] = set()
        self._platform: Platform

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables that lead any AWS client, and smexec, to the service."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_REGION": self.config.region,
            "AWS_DEFAULT_REGION": self.config.region,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_EC2_METADATA_DISABLED": "true",
            "SMEXEC_S3_ROOT_URI": f"s3://{self.bucket}/smexec",
            # Jobs run on this machine's Python, which may be one that no stock image has.
            "SMEXEC_IMAGE_URI": "smexec-local:latest",
            "SMEXEC_ROLE": self.role,
        }

    def describe(self) -> dict[str, Any]:
        """What a client has to know; printed once when the service is ready."""
        return {
            "endpoint_url": self.endpoint_url,
            "region": self.config.region,
            "account": self.config.account,
            "bucket": self.bucket,
            "role": self.role,
            "pid": os.getpid(),
            "environment": self.environment,
        }

    async def start(self, stack: AsyncExitStack) -> None:
        """Start all parts; `stack` ends them in reverse order."""
        stack.callback(self.leases.cancel)
        listener = stack.enter_context(socket.create_server(self._address, backlog=_BACKLOG))
        self.endpoint_url = "http://{}:{}".format(*listener.getsockname()[:2])
        scratch = tempfile.TemporaryDirectory(prefix="smexec-local-", ignore_cleanup_errors=True)
        directory = Path(stack.enter_context(scratch))
        listeners = [listener]
        if made := gate(directory / GATE):
            listeners.append(stack.enter_context(made))
        moto = await stack.enter_async_context(MotoServer(directory, self.config.account))
        await stack.enter_async_context(self._watched(moto))
        s3, iam = await self._clients(stack, moto.url)
        await self._furnish(s3, iam)
        warm_pools = WarmPools(self.config)
        self._platform = await stack.enter_async_context(
            running_platform(self.config, directory, self.endpoint_url, moto.url, warm_pools)
        )
        preconditions = Preconditions(s3, iam, self.config.region, self.config.account)
        desk = Desk(self.config, self.account, preconditions, self._launch, time.time)
        builds = CodeBuildApi(self.config, preconditions, self._launch_build, time.time)
        hosting = await stack.enter_async_context(Hosting(self._platform, self.account))
        front = Front(
            control=ControlApi(self),
            apis={
                "sagemaker": Api(
                    TrainingApi(desk, warm_pools).operations,
                    ProcessingApi(desk).operations,
                    TransformApi(desk).operations,
                    ModelApi(desk).operations,
                    EndpointConfigApi(desk).operations,
                    EndpointApi(desk, hosting).operations,
                    TagApi(self.account).operations,
                ),
                "codebuild": Api(builds.operations, service="codebuild"),
            },
            proxy=await stack.enter_async_context(Proxy(moto.url)),
            runtime=Runtime(self.config, hosting),
            traffic=self.traffic,
            account=self.config.account,
        )
        await stack.enter_async_context(front.serving(*listeners))
        # The last to start and the first to end: a job's container talks to the service until its end.
        stack.push_async_callback(self._end_jobs)
        self.leases.expect()

    @property
    def _address(self) -> tuple[str, int]:
        return self.config.host, self.config.port

    @asynccontextmanager
    async def _watched(self, moto: MotoServer) -> AsyncIterator[None]:
        """End the service if moto dies under it."""

        async def watch() -> None:
            code = await moto.died()
            _log.error("the moto server has died with exit code %s", code)
            self.end.set()

        task = asyncio.create_task(watch())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _clients(self, stack: AsyncExitStack, url: str) -> tuple[Any, Any]:
        session = get_session()
        clients = [
            session.create_client(
                service,
                region_name=self.config.region,
                endpoint_url=url,
                aws_access_key_id=ACCESS_KEY,
                aws_secret_access_key=SECRET_KEY,
            )
            for service in ("s3", "iam")
        ]
        s3, iam = [await stack.enter_async_context(client) for client in clients]
        service_model()
        return s3, iam

    async def _furnish(self, s3: Any, iam: Any) -> None:
        """Give the account what a SageMaker user has: a default bucket and an execution role."""
        place = {"CreateBucketConfiguration": {"LocationConstraint": self.config.region}}
        await s3.create_bucket(Bucket=self.bucket, **(place if self.config.region != "us-east-1" else {}))
        services = {"Service": [PRINCIPAL, BUILDER]}
        trust = {"Effect": "Allow", "Principal": services, "Action": "sts:AssumeRole"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
        role = await iam.create_role(RoleName=ROLE_NAME, AssumeRolePolicyDocument=policy)
        self.role = role["Role"]["Arn"]

    def _launch(self, job: Job) -> None:
        run = RUNS[type(job)](job, self._platform)
        self._keep(asyncio.create_task(run_job(run), name=f"job {job.name}"))

    def _launch_build(self, build: Build) -> None:
        self._keep(asyncio.create_task(run_build(build, self._platform), name=f"build {build.id}"))

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._runs.add(task)
        task.add_done_callback(self._runs.discard)

    async def _end_jobs(self) -> None:
        runs = tuple(self._runs)
        for task in runs:
            task.cancel()
        for outcome in await asyncio.gather(*runs, return_exceptions=True):
            if isinstance(outcome, Exception):
                _log.error("a job's run raised at the end of the service", exc_info=outcome)


@asynccontextmanager
async def running_service(config: ServiceConfig) -> AsyncIterator[Service]:
    """A service that is ready to use, ended with the block together with its jobs, moto and scratch
    directory.
    """
    async with AsyncExitStack() as stack:
        service = Service(config)
        await service.start(stack)
        yield service


def _watch_processes_without_threads() -> None:
    """Before Python 3.12, asyncio waits for each child process in a thread unless it is told better."""
    if sys.version_info < (3, 12) and hasattr(os, "pidfd_open"):
        watcher = asyncio.PidfdChildWatcher()
        watcher.attach_loop(asyncio.get_running_loop())
        asyncio.set_child_watcher(watcher)


async def serve(config: ServiceConfig, ready: Callable[[Service], None]) -> None:
    """Run a service until SIGTERM, SIGINT, a control request or the last lease ends it; `ready` is called
    once.
    """
    loop = asyncio.get_running_loop()
    _watch_processes_without_threads()
    async with running_service(config) as service:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, service.end.set)
        ready(service)
        await service.end.wait()
