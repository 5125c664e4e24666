from __future__ import annotations

import base64
import os
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from smexec.testing import LocalService
from smexec.worker import s3
from smexec.worker.parts import AT_A_TIME, Sizes, checksum, split
from smexec.worker.protocol import Buffer
from smexec.worker.s3 import Undeliverable
from smexec.worker.upload import upload

MIB = 1 << 20
SMALL = Sizes(large=5 * MIB, part=5 * MIB)  # no part but the last may be smaller, says S3
LARGE = 12 * MIB  # three parts
CONTENT = os.urandom(LARGE)
KEY = "arn:aws:kms:us-east-1:123456789012:key/1"


@pytest.fixture(autouse=True)
def _prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "PAUSE", 0.0)


@pytest.fixture
def where(smexec_service: LocalService, request: pytest.FixtureRequest) -> dict[str, str]:
    """An object of the test's own."""
    return {"Bucket": smexec_service.bucket, "Key": f"{request.node.name} + ü"}


@pytest.fixture
def uri(where: dict[str, str]) -> str:
    return "s3://{Bucket}/{Key}".format(**where)


@pytest.fixture
def there(smexec_service: LocalService, where: dict[str, str]) -> Callable[[], bytes]:
    """The object's bytes."""
    client = smexec_service.client("s3")
    return lambda: bytes(client.get_object(**where)["Body"].read())


@pytest.fixture
def left(smexec_service: LocalService, where: dict[str, str]) -> Callable[[], list[Any]]:
    """The object's uploads that were begun and not ended."""
    client = smexec_service.client("s3")

    def uploads() -> list[Any]:
        found = client.list_multipart_uploads(Bucket=where["Bucket"]).get("Uploads", [])
        return [upload for upload in found if upload["Key"] == where["Key"]]

    return uploads


def uploading(service: LocalService) -> dict[str, int]:
    """The requests of uploads in parts, which jobs of other tests do not make."""
    return {name: count for name, count in service.requests().items() if "Upload" in name}


def test_a_large_object_goes_in_parts(
    uri: str, there: Callable[[], bytes], smexec_service: LocalService
) -> None:
    pieces: list[Buffer] = [CONTENT[:7], bytearray(CONTENT[7 : 6 * MIB]), memoryview(CONTENT)[6 * MIB :]]
    upload(uri, pieces, LARGE, sizes=SMALL)
    assert uploading(smexec_service) == {
        "s3.CreateMultipartUpload": 1,
        "s3.UploadPart": 3,
        "s3.CompleteMultipartUpload": 1,
    }
    assert there() == CONTENT


def test_parts_are_sent_while_the_rest_is_being_made(
    uri: str, there: Callable[[], bytes], smexec_service: LocalService
) -> None:
    def made() -> Iterator[bytes]:
        yield CONTENT[: 6 * MIB]
        smexec_service.wait_for_requests(**{"s3.UploadPart": 1})
        yield CONTENT[6 * MIB :]

    upload(uri, made(), LARGE, sizes=SMALL)
    assert there() == CONTENT


def test_what_is_not_large_goes_at_once(
    uri: str, there: Callable[[], bytes], smexec_service: LocalService
) -> None:
    upload(uri, [CONTENT[: SMALL.large - 1]], SMALL.large - 1, sizes=SMALL)
    assert uploading(smexec_service) == {}
    assert there() == CONTENT[: SMALL.large - 1]


def test_encryption_is_asked_for_and_parts_have_checksums(
    uri: str, where: dict[str, str], smexec_service: LocalService
) -> None:
    upload(uri, [CONTENT], LARGE, KEY, sizes=SMALL)
    found = smexec_service.client("s3").head_object(**where, ChecksumMode="ENABLED")
    assert (found["ServerSideEncryption"], found["SSEKMSKeyId"]) == ("aws:kms", KEY)
    each = [base64.b64decode(checksum(part)) for part in split([CONTENT], SMALL.part)]
    assert found["ChecksumCRC32"].partition("-")[0] == checksum(each)  # of checksums, S3 says


@pytest.mark.parametrize("kind", ["drop", "drop-before", "internal"])
@pytest.mark.parametrize("operation", ["CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"])
def test_what_fails_is_sent_again_by_itself(
    uri: str, there: Callable[[], bytes], smexec_service: LocalService, operation: str, kind: str
) -> None:
    smexec_service.fault(operation, kind)
    upload(uri, [CONTENT], LARGE, sizes=SMALL)
    assert smexec_service.requests()["s3." + operation] == (4 if operation == "UploadPart" else 2)
    assert there() == CONTENT


@pytest.mark.parametrize("operation", ["UploadPart", "CompleteMultipartUpload"])
@pytest.mark.parametrize(("kind", "may_pass"), [("denied", False), ("internal", True)])
def test_an_upload_that_fails_leaves_nothing(
    uri: str,
    left: Callable[[], list[Any]],
    smexec_service: LocalService,
    operation: str,
    kind: str,
    may_pass: bool,
) -> None:
    smexec_service.fault(operation, kind, times=None)
    with pytest.raises(Undeliverable) as caught:
        upload(uri, [CONTENT], LARGE, tries=2, sizes=SMALL)
    assert caught.value.may_pass == may_pass
    assert left() == []


def test_an_upload_that_cannot_be_aborted_fails_for_its_own_reason(
    uri: str, smexec_service: LocalService, capsys: pytest.CaptureFixture[str]
) -> None:
    smexec_service.fault("UploadPart", "denied")
    smexec_service.fault("AbortMultipartUpload", "denied")
    with pytest.raises(Undeliverable, match="PUT"):
        upload(uri, [CONTENT], LARGE, sizes=SMALL)
    assert "stays: DELETE" in capsys.readouterr().err


def test_an_error_in_an_answer_of_200_is_an_error(
    uri: str, there: Callable[[], bytes], smexec_service: LocalService
) -> None:
    smexec_service.fault("CompleteMultipartUpload", "error", code="InternalError", status=200)
    upload(uri, [CONTENT], LARGE, sizes=SMALL)
    assert smexec_service.requests()["s3.CompleteMultipartUpload"] == 2
    assert there() == CONTENT
    smexec_service.fault("CompleteMultipartUpload", "error", code="InternalError", status=200)
    with pytest.raises(Undeliverable, match=r"after 200: (?s:.*)InternalError") as caught:
        upload(uri, [CONTENT], LARGE, tries=1, sizes=SMALL)
    assert caught.value.may_pass


def test_an_upload_that_is_there_no_more_was_completed(uri: str, smexec_service: LocalService) -> None:
    """S3 forgets an upload that it has completed, and the answer may be lost."""
    upload(uri, [CONTENT], LARGE, sizes=SMALL)
    smexec_service.fault("CompleteMultipartUpload", "error", code="NoSuchUpload", status=404, times=3)
    upload(uri, [CONTENT], LARGE, sizes=SMALL)
    for another in (uri, uri + "-that-is-not-there"):
        with pytest.raises(Undeliverable, match="NoSuchUpload"):
            upload(another, [CONTENT, b"more"], LARGE + 4, sizes=SMALL)


def test_an_answer_without_an_upload(bucket: Any) -> None:
    bucket.answers = [200]
    with pytest.raises(Undeliverable, match="names no upload"):
        upload("s3://b/k", [CONTENT], LARGE, sizes=SMALL)


def test_nothing_is_copied_but_what_is_under_way(uri: str, where: dict[str, str]) -> None:
    payload = memoryview(bytes(64 * MIB))
    upload(uri, [b""], 0)  # all is imported
    tracemalloc.start()
    upload(uri, [b"header", payload], 6 + len(payload))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * AT_A_TIME * s3.CHUNK
