"""What the platform moves between S3 and a host, against moto behind a running service."""

from __future__ import annotations

import asyncio
import io
import json
import os
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path, PurePosixPath
from typing import Any

import aioboto3
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smexec.local.layout import JobFailure
from smexec.local.transfer import (
    CONCURRENCY,
    Checkpoints,
    Location,
    Storage,
    Transfer,
    fetch_channel,
    for_all,
    local_path,
    merged,
    pack,
    plan_channel,
    upload_artifacts,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def s3_client(shared_process: Any) -> Any:
    return shared_process.client("s3")


@pytest.fixture
def s3(aws: Any, s3_client: Any) -> Any:
    return s3_client


# One for all: it keeps what it has read of botocore's model.
SESSION = aioboto3.Session("key", "secret", region_name="us-east-1")


@pytest.fixture
def bucket(s3: Any, request: pytest.FixtureRequest) -> str:
    name = f"bucket-{abs(hash(request.node.nodeid))}"
    s3.create_bucket(Bucket=name)
    return name


@pytest.fixture
async def storage(aws: Any) -> AsyncIterator[Storage]:
    async with SESSION.client("s3", endpoint_url=aws.info["endpoint_url"]) as client:
        yield Storage(client)


def channel(uri: str, **source: str) -> dict[str, Any]:
    s3_source = {
        "S3DataType": "S3Prefix",
        "S3Uri": uri,
        "S3DataDistributionType": "FullyReplicated",
        **source,
    }
    return {"ChannelName": "train", "DataSource": {"S3DataSource": s3_source}}


def put(s3: Any, bucket: str, **files: str) -> None:
    for name, content in files.items():
        s3.put_object(Bucket=bucket, Key=name, Body=content.encode())


def tree(directory: Path) -> dict[str, str]:
    return {
        path.relative_to(directory).as_posix(): path.read_text()
        for path in directory.rglob("*")
        if path.is_file()
    }


class TestLocalPaths:
    @pytest.mark.parametrize(
        ("prefix", "key", "path"),
        [
            ("data/", "data/x/y", "x/y"),
            ("data", "data/x/y", "x/y"),
            ("data/x", "data/x", "x"),
            ("data/part", "data/part-1", "part-1"),
            ("data/part", "data/parts/1", "parts/1"),
            ("x", "x", "x"),
            ("", "x/y", "x/y"),
            ("data/", "data//x", "x"),
        ],
    )
    def test_where_an_object_lies(self, prefix: str, key: str, path: str) -> None:
        assert local_path(prefix, key) == PurePosixPath(path)

    @pytest.mark.parametrize("key", ["data/../x", "data/x/../../../etc/passwd", "data/.."])
    def test_never_outside(self, key: str) -> None:
        with pytest.raises(ValueError, match="leads out"):
            local_path("data/", key)

    @given(st.text("abc/.", max_size=12), st.text("abc/.", min_size=1, max_size=12))
    def test_never_absolute(self, prefix: str, rest: str) -> None:
        try:
            path = local_path(prefix, prefix + rest)
        except ValueError:
            return
        assert not path.is_absolute()
        assert ".." not in path.parts

    def test_uris(self) -> None:
        assert Location.of("s3://bucket/a/b") == ("bucket", "a/b")
        assert Location.of("s3://bucket") == ("bucket", "")
        assert str(Location("bucket", "a/") / "b") == "s3://bucket/a/b"
        assert str(Location("bucket", "") / "b") == "s3://bucket/b"


class TestChannels:
    async def fetch(self, storage: Storage, channel: dict[str, Any], directory: Path) -> dict[str, str]:
        await fetch_channel(storage, await plan_channel(storage, channel, (0, 1)), directory)
        return tree(directory)

    async def test_a_prefix(self, storage: Storage, s3: Any, bucket: str, tmp_path: Path) -> None:
        put(s3, bucket, **{"data/a": "1", "data/deep/b": "2", "other": "3"})
        found = await self.fetch(storage, channel(f"s3://{bucket}/data/"), tmp_path)
        assert found == {"a": "1", "deep/b": "2"}

    async def test_one_object(self, storage: Storage, s3: Any, bucket: str, tmp_path: Path) -> None:
        put(s3, bucket, **{"data/a.csv": "1"})
        assert await self.fetch(storage, channel(f"s3://{bucket}/data/a.csv"), tmp_path) == {"a.csv": "1"}

    async def test_the_whole_bucket(self, storage: Storage, s3: Any, bucket: str, tmp_path: Path) -> None:
        put(s3, bucket, **{"a": "1", "b/c": "2"})
        assert await self.fetch(storage, channel(f"s3://{bucket}"), tmp_path) == {"a": "1", "b/c": "2"}

    async def test_more_than_a_page(
        self, storage: Storage, s3: Any, bucket: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("smexec.local.transfer.PAGE", 3)
        put(s3, bucket, **{f"data/{number}": "" for number in range(8)})
        transfers = await plan_channel(storage, channel(f"s3://{bucket}/data/"), (0, 1))
        assert [transfer.path.name for transfer in transfers] == [f"{number}" for number in range(8)]

    async def test_empty_folders(self, storage: Storage, s3: Any, bucket: str, tmp_path: Path) -> None:
        put(s3, bucket, **{"data/": "", "data/empty/": "", "data/a": "1"})
        assert await self.fetch(storage, channel(f"s3://{bucket}/data/"), tmp_path) == {"a": "1"}
        assert (tmp_path / "empty").is_dir()

    async def test_a_manifest(self, storage: Storage, s3: Any, bucket: str, tmp_path: Path) -> None:
        manifest = json.dumps([{"prefix": f"s3://{bucket}/data/"}, "a", "deep/b"])
        put(s3, bucket, **{"data/a": "1", "data/deep/b": "2", "data/c": "3", "manifest": manifest})
        given = channel(f"s3://{bucket}/manifest", S3DataType="ManifestFile")
        assert await self.fetch(storage, given, tmp_path) == {"a": "1", "deep/b": "2"}

    @pytest.mark.parametrize("content", ["{", "{}", "[]", '["x"]', '[{"prefix": "s3://b/"}, "../x"]'])
    async def test_no_manifest(self, storage: Storage, s3: Any, bucket: str, content: str) -> None:
        put(s3, bucket, manifest=content)
        with pytest.raises(JobFailure, match=r"^ClientError: Data download failed"):
            await plan_channel(storage, channel(f"s3://{bucket}/manifest", S3DataType="ManifestFile"), (0, 1))

    async def test_shards(self, storage: Storage, s3: Any, bucket: str) -> None:
        put(s3, bucket, **{f"data/{number}": "" for number in range(7)})
        given = channel(f"s3://{bucket}/data/", S3DataDistributionType="ShardedByS3Key")
        shards = [await plan_channel(storage, given, (index, 3)) for index in range(3)]
        names = [[transfer.path.name for transfer in shard] for shard in shards]
        assert names == [["0", "3", "6"], ["1", "4"], ["2", "5"]]

    async def test_shuffled_as_told(self, storage: Storage, s3: Any, bucket: str) -> None:
        put(s3, bucket, **{f"data/{number}": "" for number in range(9)})
        given = channel(f"s3://{bucket}/data/") | {"ShuffleConfig": {"Seed": 7}}
        first, again = [await plan_channel(storage, given, (0, 1)) for _ in range(2)]
        assert first == again != sorted(first)

    async def test_nothing_there(self, storage: Storage, bucket: str) -> None:
        with pytest.raises(JobFailure, match=rf"No S3 objects found under S3 URL s3://{bucket}/data/"):
            await plan_channel(storage, channel(f"s3://{bucket}/data/"), (0, 1))

    async def test_no_bucket(self, storage: Storage) -> None:
        with pytest.raises(JobFailure, match=r"ClientError: Data download failed: .*bucket does not exist"):
            await plan_channel(storage, channel("s3://no-such-bucket/data/"), (0, 1))

    async def test_two_that_want_the_same_place(
        self, storage: Storage, s3: Any, bucket: str, tmp_path: Path
    ) -> None:
        put(s3, bucket, **{"data/a": "1", "data/a/b": "2"})
        with pytest.raises(JobFailure, match="ClientError: Data download failed"):
            await self.fetch(storage, channel(f"s3://{bucket}/data/"), tmp_path)

    async def test_a_file_system_is_refused(self, storage: Storage) -> None:
        given = {"ChannelName": "train", "DataSource": {"FileSystemDataSource": {}}}
        with pytest.raises(JobFailure, match="no file systems; channel train"):
            await plan_channel(storage, given, (0, 1))

    async def test_an_augmented_manifest_is_refused(self, storage: Storage) -> None:
        with pytest.raises(JobFailure, match="no AugmentedManifestFile"):
            await plan_channel(storage, channel("s3://b/x", S3DataType="AugmentedManifestFile"), (0, 1))

    async def test_large_objects(self, storage: Storage, s3: Any, bucket: str, tmp_path: Path) -> None:
        content = os.urandom(3 << 20)
        s3.put_object(Bucket=bucket, Key="large", Body=content)
        await storage.download(Location(bucket, "large"), tmp_path / "large")
        assert (tmp_path / "large").read_bytes() == content


class TestArtifacts:
    @pytest.fixture
    def hosts(self, tmp_path: Path) -> list[dict[str, Path]]:
        hosts = []
        for number in (1, 2):
            host = {name: tmp_path / f"{number}" / name for name in ("model", "output")}
            for directory in host.values():
                directory.mkdir(parents=True)
            hosts.append(host)
        return hosts

    async def upload(
        self, storage: Storage, bucket: str, hosts: list[dict[str, Path]], tmp_path: Path, **output: str
    ) -> None:
        directories = {name: [host[name] for host in hosts] for name in ("model", "output")}
        output = {"S3OutputPath": f"s3://{bucket}/out/", **output}
        await upload_artifacts(storage, output, "job-1", directories, tmp_path)

    def keys(self, s3: Any, bucket: str) -> list[str]:
        return [item["Key"] for item in s3.list_objects_v2(Bucket=bucket).get("Contents", ())]

    def archive(self, s3: Any, bucket: str, key: str) -> tarfile.TarFile:
        body = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        return tarfile.open(fileobj=io.BytesIO(body))

    async def test_nothing_uploads_nothing(
        self, storage: Storage, s3: Any, bucket: str, hosts: list[dict[str, Path]], tmp_path: Path
    ) -> None:
        await self.upload(storage, bucket, hosts, tmp_path)
        await self.upload(storage, bucket, hosts, tmp_path, CompressionType="NONE")
        assert self.keys(s3, bucket) == []

    async def test_archives(
        self, storage: Storage, s3: Any, bucket: str, hosts: list[dict[str, Path]], tmp_path: Path
    ) -> None:
        (hosts[0]["model"] / "deep").mkdir()
        (hosts[0]["model"] / "deep" / "weights").write_text("w")
        (hosts[0]["model"] / "link").symlink_to("/etc/passwd")
        (hosts[0]["output"] / "log").write_text("l")
        await self.upload(storage, bucket, hosts, tmp_path)
        assert self.keys(s3, bucket) == ["out/job-1/output/model.tar.gz", "out/job-1/output/output.tar.gz"]
        with self.archive(s3, bucket, "out/job-1/output/model.tar.gz") as tar:
            assert tar.getnames() == ["deep", "deep/weights", "link"]
            assert {member.uname for member in tar} == {"root"}
            assert tar.getmember("link").issym()

    async def test_all_hosts_in_one_and_the_first_wins(
        self, storage: Storage, s3: Any, bucket: str, hosts: list[dict[str, Path]], tmp_path: Path
    ) -> None:
        for number, host in enumerate(hosts):
            (host["model"] / "same").write_text(str(number))
            (host["model"] / f"own-{number}").write_text("x")
        await self.upload(storage, bucket, hosts, tmp_path)
        with self.archive(s3, bucket, "out/job-1/output/model.tar.gz") as tar:
            assert tar.getnames() == ["own-0", "own-1", "same"]
            same = tar.extractfile("same")
            assert same is not None
            assert same.read() == b"0"

    async def test_uncompressed(
        self, storage: Storage, s3: Any, bucket: str, hosts: list[dict[str, Path]], tmp_path: Path
    ) -> None:
        (hosts[0]["model"] / "deep").mkdir()
        (hosts[0]["model"] / "deep" / "weights").write_text("w")
        (hosts[0]["model"] / "link").symlink_to("/etc/passwd")
        (hosts[1]["output"] / "log").write_text("l")
        await self.upload(storage, bucket, hosts, tmp_path, CompressionType="NONE")
        assert self.keys(s3, bucket) == ["out/job-1/output/data/log", "out/job-1/output/model/deep/weights"]

    async def test_no_bucket(self, storage: Storage, hosts: list[dict[str, Path]], tmp_path: Path) -> None:
        (hosts[0]["model"] / "m").write_text("w")
        with pytest.raises(JobFailure, match=r"ClientError: Artifact upload failed: .*bucket does not exist"):
            await self.upload(storage, "no-such-bucket", hosts, tmp_path)

    def test_an_empty_directory_is_something(self, tmp_path: Path) -> None:
        (tmp_path / "model" / "empty").mkdir(parents=True)
        assert pack([tmp_path / "model"], tmp_path / "archive")
        assert list(merged([tmp_path / "model"])) == ["empty"]


class TestCheckpoints:
    @pytest.fixture
    def directory(self, tmp_path: Path) -> Path:
        directory = tmp_path / "checkpoints"
        directory.mkdir()
        return directory

    @pytest.fixture
    def checkpoints(self, storage: Storage, bucket: str, directory: Path) -> Checkpoints:
        return Checkpoints(storage, f"s3://{bucket}/state", directory)

    def stored(self, s3: Any, bucket: str) -> dict[str, str]:
        keys = [item["Key"] for item in s3.list_objects_v2(Bucket=bucket).get("Contents", ())]
        return {key: s3.get_object(Bucket=bucket, Key=key)["Body"].read().decode() for key in keys}

    async def test_restored(self, checkpoints: Checkpoints, s3: Any, bucket: str, directory: Path) -> None:
        put(s3, bucket, **{"state/1/w": "w", "stateless": "x"})
        await checkpoints.restore()
        assert tree(directory) == {"1/w": "w"}

    async def test_synchronised(
        self, checkpoints: Checkpoints, aws: Any, s3: Any, bucket: str, directory: Path
    ) -> None:
        put(s3, bucket, **{"state/old": "o", "state/same": "s"})
        await checkpoints.restore()
        (directory / "old").unlink()
        (directory / "new").mkdir()
        (directory / "new" / "w").write_text("w")
        aws.control("requests", method="DELETE")
        await checkpoints.sync()
        assert self.stored(s3, bucket) == {"state/same": "s", "state/new/w": "w"}
        await checkpoints.sync()
        assert aws.control("requests")["s3.PutObject"] == 1
        (directory / "same").write_text("changed")
        await checkpoints.sync()
        assert self.stored(s3, bucket)["state/same"] == "changed"

    async def test_what_others_have_stored_stays(
        self, checkpoints: Checkpoints, s3: Any, bucket: str
    ) -> None:
        await checkpoints.restore()
        put(s3, bucket, **{"state/another-host": "x"})
        await checkpoints.sync()
        assert self.stored(s3, bucket) == {"state/another-host": "x"}

    async def test_kept_in_sync_while_it_runs(
        self, checkpoints: Checkpoints, aws: Any, directory: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("smexec.local.transfer.SYNC_SECONDS", 0.01)
        await checkpoints.restore()
        aws.control("requests", method="DELETE")
        keeping = asyncio.create_task(checkpoints.keep_in_sync())
        (directory / "w").write_text("w")
        await asyncio.to_thread(aws.control, "wait", {"requests": {"s3.PutObject": 1}})
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)

    async def test_no_bucket(self, storage: Storage, directory: Path) -> None:
        checkpoints = Checkpoints(storage, "s3://no-such-bucket/state", directory)
        with pytest.raises(JobFailure, match="ClientError: Checkpoint download failed"):
            await checkpoints.restore()
        (directory / "w").write_text("w")
        with pytest.raises(JobFailure, match="ClientError: Checkpoint upload failed"):
            await checkpoints.sync()


class TestForAll:
    async def test_all_once_and_not_too_many_at_a_time(self) -> None:
        running, most, done = 0, 0, []

        async def act(item: int) -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0)
            running -= 1
            done.append(item)

        await for_all(range(100), act)
        assert sorted(done) == list(range(100))
        assert most == CONCURRENCY

    async def test_the_first_error_ends_it(self) -> None:
        started = []

        async def act(item: int) -> None:
            started.append(item)
            if item == 3:
                raise ValueError("three")
            await asyncio.sleep(3600)

        before = asyncio.all_tasks()
        with pytest.raises(ValueError, match="three"):
            await for_all(range(100), act)
        assert len(started) <= CONCURRENCY
        assert asyncio.all_tasks() == before


def test_a_transfer_is_a_value() -> None:
    assert Transfer(Location("b", "k"), PurePosixPath("k")) == Transfer(
        Location("b", "k"), PurePosixPath("k")
    )
