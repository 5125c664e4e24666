"""Settings → place: the questions to AWS that settings leave open, each asked once."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import anyio

from smexec import errors
from smexec.aws import s3
from smexec.aws.client import Client
from smexec.aws.identity import Identity, identity, role_arn
from smexec.aws.session import Endpoint
from smexec.core.images import is_gpu, stock_image
from smexec.core.settings import Settings
from smexec.core.work import Place
from smexec.engine.loop import in_thread
from smexec.errors import SettingsError

if TYPE_CHECKING:
    from smexec.local.lease import Lease

#: The embedded service runs jobs as processes of this machine: these stand in the request, nothing more.
_LOCAL_IMAGE = "smexec-local:latest"
_LOCAL_TYPE = "ml.m5.large"


class Ground(NamedTuple):
    """What an engine stands on.

    :ivar lease: of the embedded service, for ``instance_type="local"``; else None
    """

    lease: Lease | None

    @property
    def endpoint(self) -> Endpoint | None:
        """Where AWS is, if it is not where boto looks for it."""
        if self.lease is None:
            return None
        lease = self.lease
        return Endpoint(lease.endpoint_url, lease.region, lease.access_key, lease.secret_key)


def check_ground(local: bool) -> None:
    """:raises SettingsError: what the embedded service needs is not installed"""
    if local:
        from smexec.local.lease import ServiceUnavailable, check_needs

        try:
            check_needs()
        except ServiceUnavailable as error:
            raise SettingsError(f'instance_type="local": {error}') from None


def _lease() -> Lease:
    from smexec.local.lease import ServiceUnavailable, lease

    try:
        return lease()
    except ServiceUnavailable as error:
        raise errors.ServiceUnavailable(str(error)) from error


@contextlib.asynccontextmanager
async def ground(local: bool) -> AsyncIterator[Ground]:
    """AWS, or a lease of the embedded service for as long as the block lasts.

    :raises smexec.errors.ServiceUnavailable: the embedded service does not start, or ends before the block
    """
    if not local:
        yield Ground(lease=None)
        return
    held = await in_thread(_lease)
    try:
        with _while_it_lasts(held):
            yield Ground(held)
    finally:
        held.close()


@contextlib.contextmanager
def _while_it_lasts(lease: Lease) -> Iterator[None]:
    """End the block with the service: nobody else would ever answer there."""
    loop = asyncio.get_running_loop()
    with anyio.CancelScope() as scope:

        def ended() -> None:
            loop.remove_reader(lease)
            scope.cancel()

        loop.add_reader(lease, ended)
        try:
            yield
        finally:
            loop.remove_reader(lease)
    if scope.cancelled_caught:
        raise errors.ServiceUnavailable(
            "the local service has ended, and with it all that it ran: it was killed, or smexec local --stop "
            "was called"
        )


class Hold:
    """The embedded service, which lasts as long as anybody has this."""

    def __init__(self, lease: Lease) -> None:
        weakref.finalize(self, lease.close).atexit = False


def hold(local: bool) -> Hold | None:
    """The one hold of this process, taken if there is none: for threads. None if it is AWS that is used.

    :raises smexec.errors.ServiceUnavailable: the embedded service does not start
    """
    global _hold
    if not local:
        return None
    with _holding:
        held = _hold()
        if held is None:
            held = Hold(_lease())
            _hold = weakref.ref(held)
        return held


def _renew() -> None:
    """In a forked child, too: there the parent's lease holds nothing, and its threads let go of no lock."""
    global _hold, _holding
    _hold = lambda: None  # noqa: E731
    _holding = threading.Lock()


_hold: Callable[[], Hold | None]
_holding: threading.Lock
_renew()
os.register_at_fork(after_in_child=_renew)


class Surveyor:
    """Finds the place for a call's settings; remembers what it found.

    An answer that was an error is not remembered: the next call may fare better.
    """

    def __init__(self, aws: Client, ground: Ground) -> None:
        self._aws = aws
        self._ground = ground
        self._caller: Identity | None = None
        self._places: dict[tuple[str | None, ...], Place] = {}
        self._asking = anyio.Lock()

    async def place(self, settings: Settings, instance_type: str) -> Place:
        """Where jobs with these settings are started on this type.

        :raises smexec.errors.SmexecError: there is no region, role, bucket or image to be found
        """
        key = (settings.role, settings.image_uri, settings.s3_root_uri, instance_type)
        async with self._asking:
            if key not in self._places:
                self._places[key] = await self._survey(settings, instance_type)
        return self._places[key]

    async def _survey(self, settings: Settings, instance_type: str) -> Place:
        lease = self._ground.lease
        if lease:  # another account than the settings speak of: its role and bucket are its own
            return Place(
                region=lease.region,
                instance_type=_LOCAL_TYPE,
                role=lease.role,
                image_uri=await _image(lease, settings.image_uri or _LOCAL_IMAGE),
                root=f"s3://{lease.bucket}/smexec",
                python=sys.executable,
            )
        region = self._aws.region
        image = settings.image_uri or stock_image(
            region, (sys.version_info.major, sys.version_info.minor), gpu=is_gpu(instance_type)
        )
        return Place(
            region=region,
            instance_type=instance_type,
            role=await self._role(settings.role),
            image_uri=image,
            root=settings.s3_root_uri or await self._default_root(region),
        )

    async def _role(self, given: str | None) -> str:
        if given and given.startswith("arn:"):
            return given
        return await role_arn(self._aws, given, await self._identity())

    async def _default_root(self, region: str) -> str:
        bucket = f"sagemaker-{region}-{(await self._identity()).account}"
        await s3.ensure_bucket(self._aws, bucket)
        return f"s3://{bucket}/smexec"

    async def _identity(self) -> Identity:
        if self._caller is None:
            self._caller = await identity(self._aws)
        return self._caller


async def _image(lease: Lease, given: str) -> str:
    """The embedded service takes a directory as an image, by a name that could be an image's."""
    if not Path(given).is_absolute():
        return given
    return await in_thread(lambda: lease.name_image(given))
