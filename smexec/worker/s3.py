"""Writing objects to S3 with nothing but the standard library.

A job must not depend on what its image has installed, and importing boto3 would cost more than most
calls take. What is needed are a few requests, PUT most of all, signed by Signature Version 4
(https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html); a test holds our
signatures against botocore's.
"""

from __future__ import annotations

import datetime as dt
import functools
import hashlib
import hmac
import http.client
import io
import json
import os
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import Dict, Iterable, Iterator, Mapping, NamedTuple, Optional, Sequence

from .parts import checksum, length
from .protocol import Buffer

CHECKSUM = "x-amz-checksum-crc32"
TIMEOUT = 20.0  # seconds without a byte
TRIES = 5
PAUSE = 0.2  # seconds, doubled before each further try
PASSING = frozenset([408, 429, *range(500, 600)])  # statuses that a further try may mend
CHUNK = 1 << 20
DOMAINS = {
    "": "amazonaws.com",
    "cn-": "amazonaws.com.cn",
    "us-iso-": "c2s.ic.gov",
    "us-isob-": "sc2s.sgov.gov",
    "us-isof-": "csp.hci.ic.gov",
    "us-isoe-": "cloud.adc-e.uk",
    "eu-isoe-": "cloud.adc-e.uk",
    "eusc-": "amazonaws.eu",
}  # by the beginning of the region's name; smexec.core.images has the same, and its source


class Credentials(NamedTuple):
    """What a request is signed with. The token belongs to temporary ones."""

    access_key: str
    secret_key: str
    token: Optional[str]


class Undeliverable(Exception):
    """S3 did not take it, in all tries.

    :ivar may_pass: S3 answered, with an error of its own that may be gone later
    """

    def __init__(self, text: str, may_pass: bool) -> None:
        super().__init__(text)
        self.may_pass = may_pass


class Answer(NamedTuple):
    """What S3 said to a request that it has carried out."""

    headers: Mapping[str, str]
    body: bytes


def put(uri: str, content: Sequence[Buffer], sse_kms_key: Optional[str] = None, tries: int = TRIES) -> None:
    """Write one object in one request. Its bytes are the buffers, one after the other.

    :raises Undeliverable: with the last error's text
    """
    headers = dict(encryption(sse_kms_key), **{CHECKSUM: checksum(content)})
    ask("PUT", uri, content=content, headers=headers, tries=tries)


def encryption(sse_kms_key: Optional[str]) -> Dict[str, str]:
    """The headers that ask for it, when an object is begun."""
    if not sse_kms_key:
        return {}
    return {
        "x-amz-server-side-encryption": "aws:kms",
        "x-amz-server-side-encryption-aws-kms-key-id": sse_kms_key,
    }


def ask(
    method: str,
    uri: str,
    query: Optional[Mapping[str, str]] = None,
    content: Sequence[Buffer] = (),
    headers: Optional[Mapping[str, str]] = None,
    tries: int = TRIES,
) -> Answer:
    """Send a request about one object, again if that may help.

    :param headers: besides those that every request has
    :raises Undeliverable: with the last error's text
    """
    text, may_pass = "", False
    for attempt in range(tries):
        if attempt:
            time.sleep(PAUSE * 2**attempt)
        try:
            return _ask_once(method, uri, query or {}, content, headers or {})
        except urllib.error.HTTPError as error:
            text, may_pass = _said(error), error.code in PASSING
            if not may_pass:
                break
        except (OSError, ValueError, KeyError, http.client.HTTPException) as error:
            text, may_pass = "{}: {}".format(type(error).__name__, error), False
    message = "{} {}: {}".format(method, uri, text)
    raise Undeliverable(message, may_pass)


def _said(error: urllib.error.HTTPError) -> str:
    """S3's own words, as far as they can be read."""
    try:
        body = error.read(2000).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException) as another:
        body = str(another)
    return "{} {}: {}".format(error.code, error.reason, body)


def _ask_once(
    method: str, uri: str, query: Mapping[str, str], content: Sequence[Buffer], extra: Mapping[str, str]
) -> Answer:
    region = os.environ.get("AWS_REGION") or os.environ["AWS_DEFAULT_REGION"]
    url = with_query(object_url(uri, region, _endpoint(os.environ)), query)
    headers = dict(content_headers(content, signed=url.startswith("http:")), **extra)
    headers.update(signature(method, url, headers, region, credentials(os.environ), time.time()))
    data = _chunks(content) if content else None
    request = urllib.request.Request(url, data=data, headers=headers, method=method)
    with _opener(request.type, direct=False).open(request, timeout=TIMEOUT) as answer:
        body = answer.read()
        if b"<Error>" in body:  # S3 may find it out after it has said 200
            raise urllib.error.HTTPError(url, 500, "after 200", answer.headers, io.BytesIO(body))
        return Answer(answer.headers, body)


def object_url(uri: str, region: str, endpoint: Optional[str]) -> str:
    """Where an object is: the bucket in the host's name, or in the path: with dots, at an endpoint."""
    bucket, _, key = uri[len("s3://") :].partition("/")
    path = urllib.parse.quote(key, safe="/-_.~")
    if endpoint:
        return "{}/{}/{}".format(endpoint.rstrip("/"), bucket, path)
    domain = DOMAINS[max(filter(region.startswith, DOMAINS), key=len)]
    if "." in bucket:
        return "https://s3.{}.{}/{}/{}".format(region, domain, bucket, path)
    return "https://{}.s3.{}.{}/{}".format(bucket, region, domain, path)


def with_query(url: str, query: Mapping[str, str]) -> str:
    """The URL with the query as it is signed: sorted, and with a ``=`` behind each name."""
    quoted = sorted(
        "{}={}".format(urllib.parse.quote(name, safe="-_.~"), urllib.parse.quote(value, safe="-_.~"))
        for name, value in query.items()
    )
    return "{}?{}".format(url, "&".join(quoted)) if quoted else url


def content_headers(content: Sequence[Buffer], signed: bool) -> Dict[str, str]:
    """Length and hash. Over https S3 lets us leave the hash out, as the SDKs do."""
    sha256 = hashlib.sha256()
    for buffer in content if signed else ():
        sha256.update(buffer)
    return {
        "Content-Length": str(length(content)),
        "Content-Type": "application/octet-stream",
        "x-amz-content-sha256": sha256.hexdigest() if signed else "UNSIGNED-PAYLOAD",
    }


def signature(
    method: str, url: str, headers: Mapping[str, str], region: str, who: Credentials, now: float
) -> Dict[str, str]:
    """The headers that Signature Version 4 adds.

    :param headers: all ``x-amz-`` headers of the request and its Content-Type
    :param now: seconds since the epoch
    """
    parsed = urllib.parse.urlsplit(url)
    moment = dt.datetime.fromtimestamp(now, dt.timezone.utc)
    stamp = moment.strftime("%Y%m%dT%H%M%SZ")
    scope = "{:%Y%m%d}/{}/s3/aws4_request".format(moment, region)
    added = {"x-amz-date": stamp}
    if who.token:
        added["x-amz-security-token"] = who.token
    signed = {name.lower(): value for name, value in {**headers, **added}.items()}
    signed = {name: signed[name] for name in signed if name.startswith("x-amz-") or name == "content-type"}
    signed["host"] = parsed.netloc
    names = ";".join(sorted(signed))
    canonical = "\n".join(
        [
            method,
            parsed.path,
            parsed.query,
            *("{}:{}".format(name, signed[name]) for name in sorted(signed)),
            "",
            names,
            headers["x-amz-content-sha256"],
        ]
    )
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    mac = _sign(who.secret_key, scope, "AWS4-HMAC-SHA256\n{}\n{}\n{}".format(stamp, scope, digest))
    added["Authorization"] = "AWS4-HMAC-SHA256 Credential={}/{}, SignedHeaders={}, Signature={}".format(
        who.access_key, scope, names, mac
    )
    return added


def _sign(secret_key: str, scope: str, text: str) -> str:
    key = b"AWS4" + secret_key.encode()
    for step in scope.split("/"):
        key = hmac.new(key, step.encode(), hashlib.sha256).digest()
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def credentials(environ: Mapping[str, str]) -> Credentials:
    """The job's: asked for anew at each request, since the platform's expire and are renewed there.

    Source: the SDKs' "container credential provider".
    """
    if "AWS_ACCESS_KEY_ID" in environ:
        return Credentials(
            environ["AWS_ACCESS_KEY_ID"], environ["AWS_SECRET_ACCESS_KEY"], environ.get("AWS_SESSION_TOKEN")
        )
    url = environ.get("AWS_CONTAINER_CREDENTIALS_FULL_URI")
    relative = environ.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
    if relative:
        url = "http://169.254.170.2" + relative
    if not url:
        raise OSError("no credentials: the container has no AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
    request = urllib.request.Request(url)
    if "AWS_CONTAINER_AUTHORIZATION_TOKEN" in environ:
        request.add_header("Authorization", environ["AWS_CONTAINER_AUTHORIZATION_TOKEN"])
    with _opener(request.type, direct=True).open(request, timeout=TIMEOUT) as answer:
        given = json.load(answer)
    return Credentials(given["AccessKeyId"], given["SecretAccessKey"], given.get("Token"))


def _endpoint(environ: Mapping[str, str]) -> Optional[str]:
    return environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL")


@functools.lru_cache(maxsize=None)
def _opener(scheme: str, direct: bool) -> urllib.request.OpenerDirector:
    """Like urllib's own, which prepares for TLS each time, for 20 ms, also where there is none.

    :param direct: never through a proxy
    """
    opener = urllib.request.OpenerDirector()
    opener.add_handler(urllib.request.ProxyHandler({} if direct else None))
    opener.add_handler(urllib.request.HTTPHandler())
    opener.add_handler(urllib.request.HTTPDefaultErrorHandler())
    opener.add_handler(urllib.request.HTTPErrorProcessor())
    if scheme == "https":
        opener.add_handler(urllib.request.HTTPSHandler(context=_trust()))
    return opener


def _trust() -> ssl.SSLContext:
    """The system's authorities, or what AWS_CA_BUNDLE names, or certifi's where an image has no others."""
    context = ssl.create_default_context(cafile=os.environ.get("AWS_CA_BUNDLE"))
    if not context.get_ca_certs():
        try:
            import certifi
        except ImportError:
            return context
        context.load_verify_locations(certifi.where())
    return context


def _chunks(parts: Iterable[Buffer]) -> Iterator[bytes]:
    """A megabyte at a time, so that a large section is never held twice."""
    for part in parts:
        view = memoryview(part).cast("B")
        for start in range(0, view.nbytes, CHUNK):
            yield bytes(view[start : start + CHUNK])
