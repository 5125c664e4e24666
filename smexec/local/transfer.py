"""What the platform itself moves between S3 and a host: input channels, artifacts, checkpoints.

Nothing of it passes through the container, so that it works under network isolation as well, nor through the
service's front, so that it is neither counted nor hit by a test's faults.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import tarfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, NoReturn, TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from smexec.local.checks import split_s3_uri
from smexec.local.layout import JobFailure

CHUNK = 1 << 20
CONCURRENCY = 16
PAGE = 1000  # keys in an answer, the most that S3 gives
COMPRESSION = 1  # of gzip: on one machine, time is worth more than space

SYNC_SECONDS = 1.0  # between looks at the checkpoints; the real service does not tell its own

Item = TypeVar("Item")


class Location(NamedTuple):
    """An S3 URI taken apart. The key may be a prefix or empty."""

    bucket: str
    key: str

    @classmethod
    def of(cls, uri: str) -> Location:
        """Of ``s3://bucket/key`` or an https address of S3."""
        return cls(*split_s3_uri(uri))

    def __truediv__(self, name: str) -> Location:
        """Something below this one."""
        return Location(self.bucket, f"{self.key.rstrip('/')}/{name}".lstrip("/"))

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


class Transfer(NamedTuple):
    """One object of a channel, and the path that it gets below the channel's directory."""

    location: Location
    path: PurePosixPath


class Storage:
    """S3 as the platform uses it. Errors of S3 become a job's failure; ``s3`` is a client of aioboto3."""

    def __init__(self, s3: Any) -> None:
        self._s3 = s3

    async def keys(self, prefix: Location) -> list[str]:
        """All keys that begin with the prefix, in S3's order."""
        found: list[str] = []
        pages = self._s3.get_paginator("list_objects_v2").paginate(
            Bucket=prefix.bucket, Prefix=prefix.key, PaginationConfig={"PageSize": PAGE}
        )
        async for page in pages:
            found += [item["Key"] for item in page.get("Contents", ())]
        return found

    async def chunks(self, location: Location) -> AsyncIterator[bytes]:
        """The object's content, never all of it in memory."""
        answer = await self._s3.get_object(Bucket=location.bucket, Key=location.key)
        body = answer["Body"]
        async with body:
            async for chunk in body.iter_chunks(CHUNK):
                yield chunk

    async def download(self, location: Location, path: Path) -> None:
        """Into a new file; its directory is made."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            async for chunk in self.chunks(location):
                file.write(chunk)

    async def upload(self, path: Path, location: Location) -> None:
        """A file, in parts if it is large."""
        await self._s3.upload_file(str(path), location.bucket, location.key)

    async def delete(self, location: Location) -> None:
        """It need not be there."""
        await self._s3.delete_object(Bucket=location.bucket, Key=location.key)


@contextlib.contextmanager
def failing_as(prefix: str) -> Iterator[None]:
    """Give what goes wrong with S3 or the job's files the words of a FailureReason."""
    try:
        yield
    except ClientError as error:
        raise JobFailure(f"{prefix}: {error.response['Error'].get('Message', error)}") from error
    except (BotoCoreError, OSError, ValueError) as error:
        raise JobFailure(f"{prefix}: {error}") from error


async def for_all(items: Iterable[Item], act: Callable[[Item], Awaitable[None]]) -> None:
    """Act on all items, some at a time; the first error ends it, and nothing goes on after that."""
    remaining = iter(items)

    async def work() -> None:
        for item in remaining:
            await act(item)

    workers = [asyncio.create_task(work()) for _ in range(CONCURRENCY)]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)


# -- channels ----------------------------------------------------------------------------------------------


async def plan_channel(
    storage: Storage, channel: Mapping[str, Any], shard: tuple[int, int]
) -> list[Transfer]:
    """What of a channel a host gets; ``shard`` is its index among the hosts that share it, and their number.

    Raises:
        JobFailure: nothing is there, or it is a source that this service does not have.
    """
    source = _s3_source(channel)
    location = Location.of(source["S3Uri"])
    with failing_as("ClientError: Data download failed"):
        if source["S3DataType"] == "ManifestFile":
            found = _manifest(await _read_json(storage, location))
        else:
            found = [
                Transfer(Location(location.bucket, key), local_path(location.key, key))
                for key in await storage.keys(location)
            ]
    if not found:
        raise JobFailure(f"ClientError: Data download failed:No S3 objects found under S3 URL {location}")
    if "ShuffleConfig" in channel:
        random.Random(channel["ShuffleConfig"]["Seed"]).shuffle(found)
    if source.get("S3DataDistributionType") == "ShardedByS3Key":
        index, number = shard
        return found[index::number]
    return found


async def fetch_channel(storage: Storage, transfers: Sequence[Transfer], directory: Path) -> None:
    """File mode: copy all of it before the job starts.

    Raises:
        JobFailure: an object is gone, or two want the same place (``a`` and ``a/b``).
    """
    directory.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240  (quicker than the way to a thread)

    async def fetch(transfer: Transfer) -> None:
        if transfer.location.key.endswith("/"):  # what consoles make for an empty folder
            (directory / transfer.path).mkdir(parents=True, exist_ok=True)
        else:
            await storage.download(transfer.location, directory / transfer.path)

    with failing_as("ClientError: Data download failed"):
        await for_all(transfers, fetch)


def local_path(prefix: str, key: str) -> PurePosixPath:
    """Where an object that a prefix names lies below the channel's directory.

    ``data/`` and ``data`` both put ``data/x/y`` at ``x/y``. A prefix that is a key gives that file. Where a
    prefix ends within a name, the whole name is kept: ``data/part`` puts ``data/part-1`` at ``part-1``.

    Raises:
        ValueError: the key leads out of the directory.
    """
    folder = prefix if not prefix or prefix.endswith("/") else prefix + "/"
    if not key.startswith(folder):
        folder = prefix.rpartition("/")[0]
        folder += "/" if folder else ""
    return _inside(key[len(folder) :])


def _inside(name: str) -> PurePosixPath:
    path = PurePosixPath(name.lstrip("/"))
    if ".." in path.parts:
        raise ValueError(f"the key {name!r} leads out of its directory")
    return path


def _s3_source(channel: Mapping[str, Any]) -> Mapping[str, Any]:
    source: Mapping[str, Any] | None = channel["DataSource"].get("S3DataSource")
    name = channel["ChannelName"]
    if source is None:
        raise JobFailure(f"ClientError: the local service has no file systems; channel {name} wants one")
    if source["S3DataType"] not in {"S3Prefix", "ManifestFile"}:
        raise JobFailure(
            f"ClientError: the local service has no {source['S3DataType']}; channel {name} wants it"
        )
    return source


async def _read_json(storage: Storage, location: Location) -> Any:
    return json.loads(b"".join([chunk async for chunk in storage.chunks(location)]))


def _manifest(content: Any) -> list[Transfer]:
    """``[{"prefix": "s3://bucket/some/"}, "path/1", "path/2"]``: paths are appended to the prefix."""
    if (
        not isinstance(content, list)
        or not content
        or not isinstance(content[0], dict)
        or "prefix" not in content[0]
    ):
        raise ValueError('a manifest is a list that begins with {"prefix": "s3://…"}')
    prefix = content[0]["prefix"]
    return [Transfer(Location.of(prefix + path), _inside(path)) for path in content[1:]]


# -- artifacts ---------------------------------------------------------------------------------------------


async def upload_artifacts(
    storage: Storage,
    output: Mapping[str, str],
    job: str,
    directories: Mapping[str, Sequence[Path]],
    scratch: Path,
) -> None:
    """Upload what the job made; a directory without anything in it uploads nothing.

    Args:
        storage: S3.
        output: the job's OutputDataConfig.
        job: its name.
        directories: ``model`` and ``output`` to the directories of all hosts; of two files with the same name
            that of the first host is taken.
        scratch: for the archives.

    Raises:
        JobFailure: S3 did not take it.
    """
    base = Location.of(output["S3OutputPath"]) / job / "output"
    with failing_as("ClientError: Artifact upload failed"):
        for name, sources in directories.items():
            if output.get("CompressionType") == "NONE":
                await upload_tree(storage, sources, base / ("data" if name == "output" else name))
                continue
            archive = scratch / f"{name}.tar.gz"
            if await asyncio.to_thread(pack, sources, archive):
                await storage.upload(archive, base / archive.name)


async def upload_tree(storage: Storage, sources: Sequence[Path], to: Location) -> None:
    """File by file, links left out."""

    async def upload(entry: tuple[str, Path]) -> None:
        if _regular(entry[1]):
            await storage.upload(entry[1], to / entry[0])

    await for_all(merged(sources).items(), upload)


def pack(sources: Sequence[Path], archive: Path) -> bool:
    """Write a tar.gz of what is in the directories; False, and no file, if that is nothing."""
    entries = merged(sources)
    if not entries:
        return False
    with tarfile.open(archive, "w:gz", compresslevel=COMPRESSION) as tar:
        for name in sorted(entries):
            tar.add(entries[name], name, recursive=False, filter=_owned_by_root)
    return True


def merged(sources: Sequence[Path]) -> dict[str, Path]:
    """All that is below the directories, by its relative path; of two with the same the earlier one's."""
    entries: dict[str, Path] = {}
    for source in sources:
        for folder, folders, files in os.walk(source):
            for name in (*folders, *files):
                path = Path(folder, name)
                entries.setdefault(path.relative_to(source).as_posix(), path)
    return entries


def _regular(path: Path) -> bool:
    """A link may point to anything on this machine: in an archive it stays a link, here it is left out."""
    return path.is_file() and not path.is_symlink()


def _owned_by_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """As in a container, whoever runs this service."""
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    return member


# -- what is kept in S3 while the job runs ----------------------------------------------------------------


class Mirror:
    """Brings what a job writes into a directory to a prefix of S3, as it comes."""

    failure = "ClientError: Output upload failed"

    def __init__(self, storage: Storage, uri: str, directory: Path) -> None:
        self._storage = storage
        self._location = Location.of(uri.rstrip("/") + "/")
        self._directory = directory
        self._known: dict[str, tuple[int, int]] = {}

    async def sync(self) -> None:
        """Upload what has changed since the last time.

        Raises:
            JobFailure: S3 does not take it.
        """
        state = self._state()
        changed = [name for name, version in state.items() if self._known.get(name) != version]
        with failing_as(self.failure):
            await for_all(changed, self._upload)
            await self._forget(self._known.keys() - state.keys())
        self._known = state

    async def keep_in_sync(self) -> NoReturn:
        """Until cancelled; what is under way then is brought to its end, and its files are closed."""
        while True:
            await asyncio.sleep(SYNC_SECONDS)
            syncing = asyncio.ensure_future(self.sync())
            try:
                await asyncio.shield(syncing)
            except asyncio.CancelledError:
                await asyncio.wait([syncing])
                raise

    async def _forget(self, names: Iterable[str]) -> None:
        """What is gone from the directory stays in S3."""

    async def _upload(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):  # deleted meanwhile: that is for the next sync
            await self._storage.upload(self._directory / name, self._location / name)

    def _state(self) -> dict[str, tuple[int, int]]:
        """Relative path to what changes when a file does."""
        state = {}
        for name, path in merged([self._directory]).items():
            with contextlib.suppress(FileNotFoundError):
                if _regular(path):
                    stat = path.stat()
                    state[name] = (stat.st_mtime_ns, stat.st_size)
        return state


class Checkpoints(Mirror):
    """Keeps a directory and a prefix of S3 the same, as far as the job changes the directory."""

    failure = "ClientError: Checkpoint upload failed"

    async def restore(self) -> None:
        """Fill the directory before the job starts.

        Raises:
            JobFailure: S3 does not give it.
        """
        with failing_as("ClientError: Checkpoint download failed"):
            bucket, prefix = self._location
            keys = await self._storage.keys(self._location)
            transfers = [Transfer(Location(bucket, key), local_path(prefix, key)) for key in keys]
        await fetch_channel(self._storage, transfers, self._directory)
        self._known = self._state()

    async def _forget(self, names: Iterable[str]) -> None:
        await for_all(names, lambda name: self._storage.delete(self._location / name))
