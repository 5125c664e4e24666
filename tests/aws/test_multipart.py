from __future__ import annotations

import hashlib
import os
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smexec.aws import s3
from smexec.aws.client import Client
from smexec.aws.multipart import Body
from smexec.core.work import File
from smexec.errors import AccessDenied, BucketNotFound, InvalidRequest, ScriptError
from smexec.testing import LocalService
from smexec.worker.parts import AT_A_TIME, SIZES, Sizes
from smexec.worker.protocol import Buffer

Ask = Callable[..., Any]
MIB = 1 << 20
SMALL = Sizes(large=5 * MIB, part=5 * MIB)  # no part but the last may be smaller, says S3
LARGE = 12 * MIB  # three parts
CONTENT = os.urandom(LARGE)


@pytest.fixture
def uri(smexec_service: LocalService, request: pytest.FixtureRequest) -> str:
    """An object of the test's own."""
    return f"s3://{smexec_service.bucket}/{request.node.name} + ü"


@pytest.fixture
def left(smexec_service: LocalService, uri: str) -> Callable[[], list[Any]]:
    """The object's uploads that were begun and not ended."""
    client, (bucket, key) = smexec_service.client("s3"), s3.split(uri)

    def uploads() -> list[Any]:
        found = client.list_multipart_uploads(Bucket=bucket).get("Uploads", [])
        return [upload for upload in found if upload["Key"] == key]

    return uploads


def address(uri: str) -> dict[str, Any]:
    """As boto wants it."""
    return dict(zip(("Bucket", "Key"), s3.split(uri), strict=True))


def asked(service: LocalService) -> dict[str, int]:
    """By operation."""
    return {name.partition(".")[2]: count for name, count in service.requests().items()}


def uploading(service: LocalService) -> dict[str, int]:
    """The requests of uploads in parts, which jobs of other tests do not make."""
    return {name: count for name, count in asked(service).items() if "Upload" in name}


# -- the body of a request -----------------------------------------------------------------------------------


@given(st.lists(st.binary(max_size=20)), st.lists(st.integers(-1, 30), max_size=8))
def test_a_body_is_read_like_a_file(pieces: list[bytes], sizes: Sequence[int]) -> None:
    body, content = Body([memoryview(piece) for piece in pieces]), b"".join(pieces)
    assert body.seek(0, os.SEEK_END) == len(content)
    assert body.seek(0) == 0
    position = 0
    for size in sizes:
        end = None if size < 0 else position + size
        assert body.read(size) == content[position:end]
        position = min(len(content), end) if end is not None else len(content)
        assert body.tell() == body.seek(0, os.SEEK_CUR) == position


def test_a_body_is_sent_from_its_beginning() -> None:
    async def sent(body: Body) -> bytes:
        return b"".join([chunk async for chunk in body])

    body = Body([memoryview(b"abc"), memoryview(CONTENT)])
    body.read(100)
    assert anyio.run(sent, body) == b"abc" + CONTENT


# -- out -----------------------------------------------------------------------------------------------------


def test_a_large_object_goes_in_parts(ask: Ask, uri: str, smexec_service: LocalService) -> None:
    content: list[Buffer] = [CONTENT[:7], bytearray(CONTENT[7 : 6 * MIB]), memoryview(CONTENT)[6 * MIB :]]
    ask(s3.put, uri, content, sizes=SMALL)
    requests = {"CreateMultipartUpload": 1, "UploadPart": 3, "CompleteMultipartUpload": 1}
    assert uploading(smexec_service) == requests
    assert ask(s3.get, uri) == CONTENT


def test_what_is_not_large_goes_at_once(ask: Ask, uri: str, smexec_service: LocalService) -> None:
    ask(s3.put, uri, [CONTENT[: SMALL.large - 1]], sizes=SMALL)
    assert uploading(smexec_service) == {}
    assert ask(s3.get, uri) == CONTENT[: SMALL.large - 1]


def test_encryption_of_a_large_object_is_asked_for(ask: Ask, uri: str, smexec_service: LocalService) -> None:
    ask(s3.put, uri, [CONTENT], "alias/ours", sizes=SMALL)
    found = smexec_service.client("s3").head_object(**address(uri))
    assert (found["ServerSideEncryption"], found["SSEKMSKeyId"]) == ("aws:kms", "alias/ours")


@pytest.mark.parametrize("kind", ["drop", "drop-before", "internal", "throttle"])
@pytest.mark.parametrize("operation", ["CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"])
def test_what_fails_is_sent_again_by_itself(
    ask: Ask, uri: str, smexec_service: LocalService, operation: str, kind: str
) -> None:
    smexec_service.fault(operation, kind)
    ask(s3.put, uri, [CONTENT], sizes=SMALL)
    requests = asked(smexec_service)
    assert requests.pop(operation) == (4 if operation == "UploadPart" else 2)
    assert ask(s3.get, uri) == CONTENT


def test_an_upload_that_fails_leaves_nothing(
    ask: Ask, uri: str, smexec_service: LocalService, left: Callable[[], list[Any]]
) -> None:
    smexec_service.fault("UploadPart", "denied", skip=1)
    with pytest.raises(AccessDenied):
        ask(s3.put, uri, [CONTENT], sizes=SMALL)
    assert left() == []
    assert ask(s3.get, uri) is None


def test_an_upload_that_is_cancelled_leaves_nothing(
    ask: Ask, uri: str, smexec_service: LocalService, left: Callable[[], list[Any]]
) -> None:
    smexec_service.fault("UploadPart", "delay", seconds=60, times=None)

    async def cancelled(aws: Client) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: s3.put(aws, uri, [CONTENT], sizes=SMALL))
            await anyio.to_thread.run_sync(lambda: smexec_service.wait_for_requests(**{"s3.UploadPart": 1}))
            tasks.cancel_scope.cancel()

    ask(cancelled)
    assert left() == []


def test_an_upload_that_cannot_be_aborted_fails_for_its_own_reason(
    ask: Ask, uri: str, smexec_service: LocalService, caplog: pytest.LogCaptureFixture
) -> None:
    smexec_service.fault("UploadPart", "denied")
    smexec_service.fault("AbortMultipartUpload", "denied")
    with pytest.raises(AccessDenied, match="UploadPart"):
        ask(s3.put, uri, [CONTENT], sizes=SMALL)
    assert "stays" in caplog.text


def test_an_error_in_an_answer_of_200_is_an_error(ask: Ask, uri: str, smexec_service: LocalService) -> None:
    smexec_service.fault("CompleteMultipartUpload", "error", code="InternalError", status=200)
    ask(s3.put, uri, [CONTENT], sizes=SMALL)
    assert asked(smexec_service)["CompleteMultipartUpload"] == 2


def test_an_upload_that_is_there_no_more_was_completed(
    ask: Ask, uri: str, smexec_service: LocalService
) -> None:
    """S3 forgets an upload that it has completed, and the answer may be lost."""
    ask(s3.put, uri, [CONTENT], sizes=SMALL)
    smexec_service.fault("CompleteMultipartUpload", "error", code="NoSuchUpload", status=404, times=2)
    ask(s3.put, uri, [CONTENT], sizes=SMALL)
    with pytest.raises(InvalidRequest, match="CompleteMultipartUpload"):
        ask(s3.put, uri, [CONTENT + b"more"], sizes=SMALL)


# -- files ---------------------------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path: Path) -> File:
    path = tmp_path / "data"
    path.write_bytes(CONTENT)
    return File(str(path), LARGE, hashlib.sha256(CONTENT).hexdigest())


@pytest.mark.parametrize("sizes", [SMALL, SIZES])
def test_a_file_is_read_as_it_is_sent(ask: Ask, uri: str, file: File, sizes: Sizes) -> None:
    ask(s3.put, uri, file, sizes=sizes)
    assert ask(s3.get, uri) == CONTENT


def test_a_file_without_a_byte(ask: Ask, uri: str, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    ask(s3.put, uri, File(str(tmp_path / "empty"), 0, hashlib.sha256().hexdigest()))
    assert ask(s3.get, uri) == b""


@pytest.mark.parametrize("sizes", [SMALL, SIZES])
@pytest.mark.parametrize("content", [CONTENT[:-1] + b"!", CONTENT[:-1], None], ids=["changed", "cut", "gone"])
def test_a_file_that_is_another_is_not_written(
    ask: Ask, uri: str, file: File, sizes: Sizes, content: bytes | None, left: Callable[[], list[Any]]
) -> None:
    if content is None:
        Path(file.path).unlink()
    else:
        Path(file.path).write_bytes(content)
    with pytest.raises(ScriptError, match=f"{file.path} (was changed|cannot be read)"):
        ask(s3.put, uri, file, sizes=sizes)
    assert left() == []
    assert ask(s3.get, uri) is None


def test_what_is_added_to_a_file_is_not_sent(ask: Ask, uri: str, file: File) -> None:
    Path(file.path).write_bytes(CONTENT + b"more")
    ask(s3.put, uri, file, sizes=SMALL)
    assert ask(s3.get, uri) == CONTENT


def test_no_bucket(ask: Ask) -> None:
    with pytest.raises(BucketNotFound):
        ask(s3.put, "s3://no-such-bucket/x", [CONTENT], sizes=SMALL)


# -- objects named by their content --------------------------------------------------------------------------


def test_what_is_there_is_not_sent_again(ask: Ask, uri: str, smexec_service: LocalService) -> None:
    for _ in range(2):
        ask(s3.put, uri, [CONTENT], new=True, sizes=SMALL)
    requests = asked(smexec_service)
    assert (requests["HeadObject"], requests["UploadPart"]) == (2, 3)


def test_what_we_may_not_look_at_is_sent(ask: Ask, uri: str, smexec_service: LocalService) -> None:
    smexec_service.fault("HeadObject", "error", code="403", status=403)
    ask(s3.put, uri, [CONTENT], new=True, sizes=SMALL)
    assert ask(s3.get, uri) == CONTENT


def test_somebody_else_is_faster(
    ask: Ask, uri: str, smexec_service: LocalService, left: Callable[[], list[Any]]
) -> None:
    ask(s3.put, uri, [CONTENT], sizes=SMALL)
    smexec_service.fault("HeadObject", "error", code="404", status=404)
    ask(s3.put, uri, [bytes(LARGE)], new=True, sizes=SMALL)
    assert ask(s3.get, uri) == CONTENT
    assert left() == []


# -- in ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, SMALL.part - 1, SMALL.part])
def test_what_is_small_comes_in_one_request(
    ask: Ask, uri: str, smexec_service: LocalService, size: int
) -> None:
    ask(s3.put, uri, [CONTENT[:size]])
    assert ask(s3.get, uri, SMALL) == CONTENT[:size]
    assert asked(smexec_service)["GetObject"] == 1


@pytest.mark.parametrize("size", [SMALL.part + 1, LARGE])
def test_what_is_large_comes_in_pieces(ask: Ask, uri: str, smexec_service: LocalService, size: int) -> None:
    ask(s3.put, uri, [CONTENT[:size]])
    content = ask(s3.get, uri, SMALL)
    assert content == CONTENT[:size]
    content[0:3] = b"ONE"  # arrays that lie in it must be the user's to change
    assert content[:3] == b"ONE"
    assert asked(smexec_service)["GetObject"] == -(-size // SMALL.part)


@pytest.mark.parametrize(
    "fault", [{"kind": "internal"}, {"kind": "drop"}, {"kind": "throttle"}, {"kind": "drop-before"}]
)
@pytest.mark.parametrize("piece", [0, 1, 2])
def test_a_piece_that_is_lost_is_asked_for_again(
    ask: Ask, uri: str, smexec_service: LocalService, fault: dict[str, Any], piece: int
) -> None:
    ask(s3.put, uri, [CONTENT])
    smexec_service.fault("GetObject", **fault, skip=piece)
    assert ask(s3.get, uri, SMALL) == CONTENT
    assert asked(smexec_service)["GetObject"] == 4


def test_who_follows_is_told_of_what_has_come_without_a_gap(ask: Ask, uri: str) -> None:
    last = anyio.Event()

    class Dawdling(Client):
        """The second piece comes after the third."""

        async def call(self, service: str, operation: str, *args: Any, **request: Any) -> Any:
            answer = await super().call(service, operation, *args, **request)
            if request.get("Range", "").endswith(f"-{LARGE - 1}"):
                last.set()
            elif request.get("Range", "").startswith(f"bytes={SMALL.part}-"):
                await last.wait()
            return answer

    told: list[int] = []

    def follow(whole: Buffer, stop: int) -> None:
        assert whole[:stop] == CONTENT[:stop]
        told.append(stop)

    async def read(_: Client) -> Any:
        async with Dawdling(None, None) as aws:
            return await s3.get(aws, uri, SMALL, follow)

    ask(s3.put, uri, [CONTENT])
    assert ask(read) == CONTENT
    assert told == [SMALL.part, 2 * SMALL.part, LARGE]


def test_who_follows_may_end_it(ask: Ask, uri: str) -> None:
    def follow(_: Buffer, stop: int) -> None:
        raise ValueError(stop)

    ask(s3.put, uri, [CONTENT])
    with pytest.raises(ValueError, match=str(SMALL.part)):
        ask(s3.get, uri, SMALL, follow)


@pytest.mark.parametrize("size", [0, 1, SMALL.part, SMALL.part + 1, LARGE])
def test_an_object_is_written_to_a_file(
    ask: Ask, uri: str, smexec_service: LocalService, tmp_path: Path, size: int
) -> None:
    ask(s3.put, uri, [CONTENT[:size]])
    with (tmp_path / "file").open("wb") as file:
        assert ask(s3.save, uri, file, SMALL)
    assert (tmp_path / "file").read_bytes() == CONTENT[:size]
    assert asked(smexec_service)["GetObject"] == max(1, -(-size // SMALL.part))


def test_what_is_not_there_is_not_written_to_a_file(ask: Ask, uri: str, tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        assert not ask(s3.save, uri, file)
    assert (tmp_path / "file").read_bytes() == b""


def test_pieces_are_of_one_object(ask: Ask, uri: str) -> None:
    class Overwriting(Client):
        async def call(self, service: str, operation: str, *args: Any, **request: Any) -> Any:
            answer = await super().call(service, operation, *args, **request)
            if operation == "GetObject":
                await super().call("s3", "PutObject", **{**address(uri), "Body": CONTENT[::-1]})
            return answer

    async def read(aws: Client) -> None:
        async with Overwriting(None, None) as meddler:
            await s3.get(meddler, uri, SMALL)

    ask(s3.put, uri, [CONTENT])
    with pytest.raises(InvalidRequest, match="GetObject") as caught:
        ask(read)
    assert caught.value.code == "PreconditionFailed"


# -- memory --------------------------------------------------------------------------------------------------


def test_of_a_file_only_what_is_under_way_is_in_memory(ask: Ask, uri: str, tmp_path: Path) -> None:
    path, size = tmp_path / "data", 96 * MIB
    with path.open("wb") as stream:
        stream.truncate(size)
    file = File(str(path), size, hashlib.sha256(bytes(size)).hexdigest())

    async def peak(aws: Client) -> int:
        await s3.put(aws, uri, [b""])  # all is imported
        tracemalloc.start()
        await s3.put(aws, uri, file)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    assert ask(peak) < (AT_A_TIME + 1) * SIZES.part


def test_of_what_goes_to_a_file_few_parts_are_held(ask: Ask, uri: str, tmp_path: Path) -> None:
    async def peak(aws: Client) -> int:
        await s3.put(aws, uri, [bytes(96 * MIB)])
        tracemalloc.start()
        with (tmp_path / "file").open("wb") as file:
            assert await s3.save(aws, uri, file)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    assert ask(peak) < 4 * SIZES.part
    assert (tmp_path / "file").stat().st_size == 96 * MIB


def test_a_large_payload_is_held_once(ask: Ask, uri: str) -> None:
    """tracemalloc does not see what an object is read into (the payload itself), only what is beside it."""
    payload = memoryview(bytes(96 * MIB))
    beside = (AT_A_TIME + 1) * SIZES.part  # what is under way

    async def peak(aws: Client) -> tuple[int, int]:
        await s3.put(aws, uri, [b""])  # all is imported
        tracemalloc.start()
        await s3.put(aws, uri, [b"header", payload])
        _, going = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        content = await s3.get(aws, uri)
        _, coming = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert content is not None
        assert content[6:] == payload
        return going, coming

    going, coming = ask(peak)
    assert going < beside
    assert coming < beside
