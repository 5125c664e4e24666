"""A container that serves: ``/ping`` and ``/invocations``, on the port that the platform names."""

from __future__ import annotations

import os
import sys
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"
MODEL = Path(os.environ.get("SMEXEC_OPT_ML", "/opt/ml"), "model", "model.txt").read_text(encoding="utf-8")


class Handler(BaseHTTPRequestHandler):
    refusals = int(os.environ.get("REFUSED_PINGS", "0"))

    def do_GET(self) -> None:
        if Handler.refusals:
            Handler.refusals -= 1
            print("not ready", flush=True)
            self.answer(204, b"")
            return
        self.answer(200, b"")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if body == b"die":
            os._exit(1)
        if body.startswith(b"fail"):
            self.answer(int(body[4:]), b"no such column")
            return
        if body == b"headers":
            self.answer(200, " ".join(sorted(self.headers)).encode())
            return
        if body.startswith(b"reach "):
            self.answer(200, reached(body[6:].decode()).encode())
            return
        if body.startswith(b"wait "):
            wait_for(Path(body[5:].decode()))
        said = [MODEL, body.decode(), self.headers["Content-Type"], self.headers["Accept"]]
        self.answer(200, " ".join(said).encode())

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        if ATTRIBUTES in self.headers:
            self.send_header(ATTRIBUTES, self.headers[ATTRIBUTES])
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


def reached(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=50) as answer:
            return str(answer.status)
    except urllib.error.URLError as error:
        return f"not reached: {error.reason}"


def wait_for(path: Path) -> None:
    """Say that we wait by a file beside it."""
    path.with_suffix(".asked").touch()
    while not path.exists():
        time.sleep(0.01)


if __name__ == "__main__":
    print("started as", *sys.argv[1:])
    HTTPServer(("127.0.0.1", int(os.environ.get("SAGEMAKER_BIND_TO_PORT", "8080"))), Handler).serve_forever()
