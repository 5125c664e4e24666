"""``fetch.sh``: what it asks of S3, held against botocore's own signature."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

import smexec.images

FETCH = Path(smexec.images.__file__).with_name("fetch.sh")
ROLE = {"AccessKeyId": "AKIDEXAMPLE", "SecretAccessKey": "sec/ret+key", "Token": "to/ken+=="}


class S3(HTTPServer):
    """Gives credentials at /role, and objects elsewhere.

    :ivar asked: path and headers of the last request for an object
    """

    asked: tuple[str, dict[str, str]]
    status = 200

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: S3

    def do_GET(self) -> None:
        if self.path == "/role":
            self.answer(200, json.dumps(ROLE, indent=1).encode())
            return
        self.server.asked = self.path, {name.lower(): value for name, value in self.headers.items()}
        self.answer(self.server.status, b"the code")

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def s3() -> Iterator[S3]:
    with S3(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def fetch(s3: S3, uri: str, file: Path) -> subprocess.CompletedProcess[str]:
    environment = {
        "AWS_REGION": "eu-west-1",
        "AWS_ENDPOINT_URL": s3.url,
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{s3.url}/role",
        "PATH": "/usr/bin:/bin",
    }
    command = ["sh", str(FETCH), uri, str(file)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def signature(s3: S3, path: str, headers: dict[str, str]) -> str:
    """Botocore's, of the same request."""
    request: Any = AWSRequest("GET", s3.url + path)
    for name in ("host", "x-amz-date", "x-amz-content-sha256", "x-amz-security-token"):
        request.headers[name] = headers[name]
    request.context["timestamp"] = headers["x-amz-date"]
    auth: Any = S3SigV4Auth(Credentials(*ROLE.values()), "s3", "eu-west-1")
    return str(auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request))


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("s3://bucket/job-1/source/sourcedir.tar.gz", "/bucket/job-1/source/sourcedir.tar.gz"),
        ("s3://bucket/day=1/a b+c/100%/x.tar.gz", "/bucket/day%3D1/a%20b%2Bc/100%25/x.tar.gz"),
    ],
)
def test_a_request_is_signed_with_the_job_s_role(s3: S3, tmp_path: Path, uri: str, path: str) -> None:
    run = fetch(s3, uri, tmp_path / "code")
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "code").read_bytes() == b"the code"
    asked, headers = s3.asked
    assert asked == path
    assert headers["x-amz-security-token"] == ROLE["Token"]
    assert "AKIDEXAMPLE" in headers["authorization"]
    assert headers["authorization"].endswith(f"Signature={signature(s3, asked, headers)}")


def test_what_cannot_be_had_is_an_error(s3: S3, tmp_path: Path) -> None:
    s3.status = 403
    run = fetch(s3, "s3://bucket/x", tmp_path / "code")
    assert run.returncode != 0
    assert "403" in run.stderr
    assert ROLE["SecretAccessKey"] not in run.stderr
