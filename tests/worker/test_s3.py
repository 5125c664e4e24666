from __future__ import annotations

import base64
import datetime as dt
import hashlib
import ipaddress
import ssl
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials as BotoCredentials
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from smexec.core import images
from smexec.core.images import available_regions, registry_domain
from smexec.worker import s3
from smexec.worker.parts import checksum
from smexec.worker.s3 import Credentials, Undeliverable, content_headers, object_url, signature, with_query

REGIONS = [*available_regions(), "eusc-de-east-1", "eu-isoe-west-1", "us-gov-west-1", "cn-northwest-1"]
CRC32 = "x-amz-checksum-crc32"

printable = st.text(st.characters(codec="ascii", categories=("L", "N", "P")), min_size=1, max_size=40)
uris = st.builds("s3://{}/{}".format, st.from_regex(r"[a-z0-9]{3,20}", fullmatch=True), st.text(max_size=60))


def encodable(text: str) -> bool:
    return text.isascii() or text.encode("utf-8", "replace").decode() == text


@given(
    uri=uris.filter(encodable),
    region=st.sampled_from(REGIONS),
    endpoint=st.sampled_from([None, "http://127.0.0.1:5000", "https://minio.example:9000/"]),
    who=st.builds(Credentials, printable, printable, st.none() | printable),
    content=st.lists(st.binary(max_size=50), max_size=3),
    method=st.sampled_from(["PUT", "POST", "DELETE", "HEAD"]),
    query=st.dictionaries(st.sampled_from(["uploads", "uploadId", "partNumber"]), st.text(max_size=20)),
    kms_key=st.none() | st.from_regex(r"[a-zA-Z0-9:/_-]{1,40}", fullmatch=True),
    seconds=st.integers(0, 4_000_000_000),
)
def test_signatures_are_botocores(
    uri: str,
    region: str,
    endpoint: str | None,
    who: Credentials,
    content: list[bytes],
    method: str,
    query: dict[str, str],
    kms_key: str | None,
    seconds: int,
) -> None:
    url = with_query(object_url(uri, region, endpoint), query)
    headers = {**content_headers(content, signed=url.startswith("http:")), CRC32: checksum(content)}
    if kms_key:
        headers["x-amz-server-side-encryption-aws-kms-key-id"] = kms_key
    ours = signature(method, url, headers, region, who, seconds)
    given = {name: value for name, value in headers.items() if name != "Content-Length"}
    request = AWSRequest(method, url, given, b"".join(content))
    theirs = signed_by_botocore(request, region, who, ours["x-amz-date"])
    assert ours["Authorization"] == theirs["Authorization"]
    assert headers["x-amz-content-sha256"] == theirs["X-Amz-Content-SHA256"]
    assert ours.get("x-amz-security-token") == theirs.get("X-Amz-Security-Token")
    moment = dt.datetime.fromtimestamp(seconds, dt.timezone.utc)
    assert ours["x-amz-date"] == moment.strftime("%Y%m%dT%H%M%SZ")


def signed_by_botocore(request: AWSRequest, region: str, who: Credentials, stamp: str) -> Any:
    """The headers that botocore would send at that time."""
    request.context["has_streaming_input"] = True
    request.context["checksum"] = {"request_algorithm": {"in": "header", "name": CRC32}}
    auth: Any = S3SigV4Auth(BotoCredentials(who.access_key, who.secret_key, who.token), "s3", region)
    # Its steps after the look at the clock.
    request.context["timestamp"] = stamp
    auth._modify_request_before_signing(request)
    text = auth.string_to_sign(request, auth.canonical_request(request))
    auth._inject_signature_to_request(request, auth.signature(text, request))
    return request.headers


class Sent(Exception):
    """Botocore was about to send something to this URL."""


def catch(request: AWSRequest, **_: object) -> None:
    raise Sent(request.url)


@pytest.mark.parametrize("region", sorted({registry_domain(region): region for region in REGIONS}.values()))
def test_urls_are_botocores(region: str) -> None:
    config = Config(s3={"us_east_1_regional_endpoint": "regional"})
    client = boto3.client("s3", region, config=config, aws_access_key_id="a", aws_secret_access_key="s")
    client.meta.events.register("before-send.s3.PutObject", catch)
    for bucket in ("bucket", "dotted.bucket"):
        for key in ("a/b", "a b+c&d=e?f#g%20h", "ü/日本/~x_y-z.", "//a/../b", "*'()!:@,$;"):
            with pytest.raises(Sent) as caught:
                client.put_object(Bucket=bucket, Key=key)
            assert caught.value.args[0] == object_url(f"s3://{bucket}/{key}", region, None)


def test_domains_are_those_of_the_images() -> None:
    assert s3.DOMAINS == images._DOMAINS
    for region in REGIONS:
        assert object_url("s3://b/k", region, None) == f"https://b.s3.{region}.{registry_domain(region)}/k"


def test_length_and_hash_are_of_all_buffers() -> None:
    headers = content_headers([b"ab", bytearray(b""), memoryview(b"c")], signed=True)
    assert headers["Content-Length"] == "3"
    assert headers["x-amz-content-sha256"] == hashlib.sha256(b"abc").hexdigest()


# -- on the wire ---------------------------------------------------------------------------------------------


def test_an_object_arrives_whole_and_signed(bucket: Any) -> None:
    s3.put("s3://b/a key", [b"one ", bytearray(b"two"), memoryview(b"")])
    ((path, headers, body),) = bucket.puts
    assert (path, body) == ("/b/a%20key", b"one two")
    who = Credentials("ASIA", "secret", "token")
    signed = {name: headers[name] for name in ("content-type", "x-amz-content-sha256", CRC32)}
    request = AWSRequest("PUT", bucket.url + path, signed, body)
    theirs = signed_by_botocore(request, "eu-west-1", who, headers["x-amz-date"])
    assert headers["authorization"] == theirs["Authorization"]


def test_a_large_object_is_sent_in_pieces(bucket: Any) -> None:
    content = bytes(range(256)) * 10_000
    s3.put("s3://b/k", [content])
    assert bucket.puts[0][2] == content


def test_encryption_is_asked_for(bucket: Any) -> None:
    s3.put("s3://b/k", [b""], "arn:aws:kms:eu-west-1:123456789012:key/1")
    headers = bucket.puts[0][1]
    assert headers["x-amz-server-side-encryption"] == "aws:kms"
    assert (
        headers["x-amz-server-side-encryption-aws-kms-key-id"] == "arn:aws:kms:eu-west-1:123456789012:key/1"
    )
    assert "x-amz-server-side-encryption-aws-kms-key-id" in headers["authorization"]


@pytest.mark.parametrize("status", [500, 503, 429, 408, b""])
def test_what_may_pass_is_tried_again(bucket: Any, status: int | bytes) -> None:
    bucket.answers = [status] * 4
    s3.put("s3://b/k", [b"x"], tries=5)
    assert [body for _, _, body in bucket.puts] == [b"x"] * 5


def test_an_end_comes_to_the_tries(bucket: Any) -> None:
    bucket.answers = [500] * 9
    with pytest.raises(Undeliverable, match=r"PUT s3://b/k: 500 Internal Server Error: <Code>Said") as caught:
        s3.put("s3://b/k", [b"x"], tries=3)
    assert len(bucket.puts) == 3
    assert caught.value.may_pass


@pytest.mark.parametrize("status", [400, 403, 404])
def test_what_will_not_pass_is_not_tried_again(bucket: Any, status: int) -> None:
    bucket.answers = [status]
    with pytest.raises(Undeliverable, match=f"{status} ") as caught:
        s3.put("s3://b/k", [b"x"])
    assert len(bucket.puts) == 1
    assert not caught.value.may_pass


def test_nobody_there(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")  # discard: nobody listens
    with pytest.raises(Undeliverable, match="refused"):
        s3.put("s3://b/k", [b"x"], tries=2)
    assert bucket.puts == []


@pytest.mark.parametrize("body", [b"not HTTP\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort"])
def test_an_answer_that_is_none(bucket: Any, body: bytes) -> None:
    bucket.answers = [body] * 2
    with pytest.raises(Undeliverable):
        s3.put("s3://b/k", [b"x"], tries=2)


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 that vouches for itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    day = dt.timedelta(days=1)
    now = dt.datetime.now(dt.timezone.utc)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    built = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now - day, now + day)
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "cert.pem").write_bytes(built.public_bytes(encoding))
    (folder / "key.pem").write_bytes(key.private_bytes(encoding, *plain))
    return folder / "cert.pem", folder / "key.pem"


@pytest.fixture
def secure(bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, Path]]:
    """The bucket behind TLS, and the certificate to trust."""
    cert, key = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    bucket.socket = context.wrap_socket(bucket.socket, server_side=True)
    monkeypatch.setenv("AWS_ENDPOINT_URL", bucket.url.replace("http:", "https:"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    s3._opener.cache_clear()
    yield bucket, cert
    s3._opener.cache_clear()


def test_over_tls_the_content_is_not_hashed_twice(secure: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket, cert = secure
    monkeypatch.setenv("AWS_CA_BUNDLE", str(cert))
    s3.put("s3://b/k", [b"content"])
    ((_, headers, body),) = bucket.puts
    assert body == b"content"
    assert headers["x-amz-content-sha256"] == "UNSIGNED-PAYLOAD"
    assert base64.b64decode(headers[CRC32]) == zlib.crc32(b"content").to_bytes(4, "big")


def test_nothing_is_sent_to_whom_nobody_vouches_for(secure: Any) -> None:
    bucket, _ = secure
    bucket.handle_error = lambda *_: None  # it is the handshake that fails
    with pytest.raises(Undeliverable, match="CERTIFICATE_VERIFY_FAILED"):
        s3.put("s3://b/k", [b"content"], tries=1)
    assert bucket.puts == []


# -- credentials ---------------------------------------------------------------------------------------------


def test_credentials_are_asked_for_at_each_request(bucket: Any) -> None:
    s3.put("s3://b/1", [b""])
    bucket.credentials["AccessKeyId"] = "RENEWED"
    s3.put("s3://b/2", [b""])
    assert ["ASIA/" in headers["authorization"] for _, headers, _ in bucket.puts] == [True, False]
    assert "RENEWED/" in bucket.puts[1][1]["authorization"]


def test_the_endpoints_own_token_is_sent(bucket: Any) -> None:
    where = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": bucket.url, "AWS_CONTAINER_AUTHORIZATION_TOKEN": "Basic x"}
    assert s3.credentials(where) == Credentials("ASIA", "secret", "token")
    assert bucket.asked == ["Basic x"]


def test_a_proxy_does_not_see_them(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert s3.credentials({"AWS_CONTAINER_CREDENTIALS_FULL_URI": bucket.url}).access_key == "ASIA"


def test_credentials_of_the_environment() -> None:
    given = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "s"}
    assert s3.credentials(given) == Credentials("a", "s", None)
    assert s3.credentials({**given, "AWS_SESSION_TOKEN": "t"}) == Credentials("a", "s", "t")


def test_no_credentials() -> None:
    with pytest.raises(OSError, match="AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"):
        s3.credentials({})
