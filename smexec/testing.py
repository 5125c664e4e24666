"""A SageMaker of a test's own: the embedded local service as a context manager and as a pytest fixture.

::

    import smexec.testing

    with smexec.testing.local_service() as service, service.environ():
        service.fault("CreateTrainingJob", "throttle", times=3)
        ...
        assert service.requests()["sagemaker.CreateTrainingJob"] == 4

With pytest, the fixture ``smexec_service`` is one service for the whole session. The environment leads to the
service while a test that asks for it runs, and what the test has changed of it is undone.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

__all__ = ["LocalService", "local_service"]

_END_SECONDS = 90.0  # more than the service gives what it has started
_ENDED = ("Completed", "Failed", "Stopped")


class LocalService:
    """A running local service. Made by :func:`local_service`.

    :ivar endpoint_url: for all AWS clients
    :ivar region: that it plays
    :ivar bucket: its default bucket
    :ivar role: ARN of a role that SageMaker may assume
    :ivar environment: the variables that lead any AWS client, and smexec, to it
    :ivar pid: of its process
    """

    def __init__(self, description: Mapping[str, Any]) -> None:
        self.endpoint_url: str = description["endpoint_url"]
        self.region: str = description["region"]
        self.bucket: str = description["bucket"]
        self.role: str = description["role"]
        self.environment: dict[str, str] = dict(description["environment"])
        self.pid: int = description["pid"]

    def __repr__(self) -> str:
        return f"<LocalService {self.endpoint_url}>"

    def configure(self, **settings: Any) -> None:
        """Change settings while it runs: ``quotas={"ml.m5.large": 0}``, ``delays={"Starting": 0.1}``, …

        Items of a mapping are merged with those set before; None takes one back. All settings, also those
        that only :func:`local_service` takes, are fields of :class:`smexec.local.config.ServiceConfig`.

        :raises ValueError: there is no such setting, or it cannot be changed while the service runs
        """
        if settings.get("image"):
            from smexec.local.config import located

            given = {name: path for name, path in settings["image"].items() if path is not None}
            settings["image"] = {**settings["image"], **located(given)}
        self._control("POST", "configure", settings)

    def fault(self, operation: str, kind: str, **details: Any) -> None:
        """Let something go wrong with the next request for an operation of any AWS API.

        :param operation: ``"PutObject"``, ``"sagemaker.CreateTrainingJob"``, ``"s3.*"``
        :param kind: ``"throttle"``, ``"error"`` (with ``code``, ``message``, ``status``), ``"drop"`` (the
            answer is lost), ``"drop-before"`` (the request is), ``"delay"`` (by ``seconds``), ``"expired"``,
            ``"denied"``, ``"internal"``
        :param details: also ``times`` (1; None for all), ``skip`` (0) and ``match`` (part of path or body)
        :raises ValueError: it cannot be ordered like that
        """
        self._control("POST", "faults", {"operation": operation, "kind": kind, **details})

    def clear_faults(self) -> None:
        """Forget the faults that have not happened yet."""
        self._control("DELETE", "faults")

    def interrupt(self, job_name: str) -> None:
        """Reclaim the instances of a spot job."""
        self._control("POST", "interrupt", {"job": job_name, "kind": "interrupt"})

    def kill(self, job_name: str) -> None:
        """SIGKILL what runs in a job's containers."""
        self._control("POST", "interrupt", {"job": job_name, "kind": "kill"})

    def break_down(self, job_name: str) -> None:
        """Let the platform fail under a job (InternalServerError, which RetryStrategy retries)."""
        self._control("POST", "interrupt", {"job": job_name, "kind": "internal-error"})

    def wait(self, job_name: str, *statuses: str, timeout: float = 60.0) -> dict[str, Any]:
        """Wait until a job has one of the primary or secondary statuses; by default until it has ended.

        :returns: the job as ListTrainingJobs shows it, times in epoch seconds
        :raises ValueError: it has none of them when the time is over
        """
        order = {"job": job_name, "statuses": statuses or _ENDED, "timeout": timeout}
        summary: dict[str, Any] = self._control("POST", "wait", order)
        return summary

    def wait_for_requests(self, timeout: float = 60.0, **wanted: int) -> None:
        """Wait until the service has had that many requests: ``**{"s3.PutObject": 3}``.

        :raises ValueError: it has not when the time is over
        """
        self._control("POST", "wait", {"requests": wanted, "timeout": timeout})

    def requests(self) -> Counter[str]:
        """How often each operation was asked for, as ``{"s3.PutObject": 9}``."""
        return Counter(self._control("GET", "requests"))

    def reset_requests(self) -> None:
        """Count from nothing again."""
        self._control("DELETE", "requests")

    def client(self, name: str, **options: Any) -> Any:
        """A boto3 client for the service, whatever the environment says."""
        return self._session.client(name, endpoint_url=self.endpoint_url, **options)

    @contextlib.contextmanager
    def environ(self) -> Iterator[None]:
        """Let the process's environment lead to the service for the block, and to no other AWS."""
        before = {name: value for name, value in os.environ.items() if name.startswith(("AWS_", "SMEXEC_"))}
        for name in before:
            # Settings of the library that say nothing about where AWS is stay as they are.
            if name.startswith("AWS_") and name not in {"AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"}:
                del os.environ[name]
        os.environ.update(self.environment)
        try:
            yield
        finally:
            for name in self.environment:
                os.environ.pop(name, None)
            os.environ.update(before)

    @contextlib.contextmanager
    def restored(self) -> Iterator[None]:
        """Undo at the end what the block has configured, and forget its faults and its requests."""
        before = self._control("POST", "configure", {})
        self.reset_requests()
        try:
            yield
        finally:
            self.clear_faults()
            self.reset_requests()
            self._control("POST", "configure", _undoing(before, self._control("POST", "configure", {})))

    @cached_property
    def _session(self) -> Any:
        import boto3

        return boto3.Session(
            aws_access_key_id=self.environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.environment["AWS_SECRET_ACCESS_KEY"],
            region_name=self.region,
        )

    def _control(self, method: str, path: str, body: Any = None) -> Any:
        from smexec.local.lease import control

        return control(self.endpoint_url, method, path, body)


@contextlib.contextmanager
def local_service(**config: Any) -> Iterator[LocalService]:
    """A service of one's own, as a process that ends with the block, together with all it has started.

    :param config: settings, as in :class:`smexec.local.config.ServiceConfig`
    :raises smexec.local.lease.ServiceUnavailable: it does not start
    :raises TypeError, ValueError: there is no such setting, or not with such a value
    """
    from smexec.local import lease
    from smexec.local.config import ServiceConfig

    lease.check_needs()
    ServiceConfig(**config)  # better here than in a process that only writes what is wrong to stderr
    process = subprocess.Popen(
        lease.command(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=lease.service_environment(),
        bufsize=0,
        start_new_session=True,  # Ctrl-C is the test's, whose end is the service's
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdin, process.stdout:
        process.stdin.write(lease.order({**config, "lease_grace": 0.0}, None))
        description = lease.read_description(process.stdout.fileno())
        if description is None:
            raise lease.ServiceUnavailable(f"the local service ended with exit code {process.wait()}")
        try:
            yield LocalService(description)
        finally:
            process.stdin.close()  # its lease
            _wait(process)


def _undoing(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """The changes that lead from the settings ``now`` back to those of ``before``."""
    from smexec.local.config import ServiceConfig

    live = [setting.name for setting in dataclasses.fields(ServiceConfig) if setting.metadata["live"]]
    changed = [name for name in live if before[name] != now[name]]
    return {
        name: {**dict.fromkeys(now[name]), **before[name]} if isinstance(now[name], dict) else before[name]
        for name in changed
    }


def _wait(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise


if "pytest" in sys.modules:  # as a plugin; others need no pytest
    import pytest

    @pytest.fixture(scope="session")
    def smexec_session() -> Iterator[LocalService]:
        """A local SageMaker for the whole session, for fixtures that want more than a test."""
        with local_service() as service:
            yield service

    @pytest.fixture
    def smexec_service(smexec_session: LocalService) -> Iterator[LocalService]:
        """The session's local SageMaker; the environment leads all AWS clients to it."""
        with smexec_session.restored(), smexec_session.environ():
            yield smexec_session
