"""A container that serves: it answers with what it was sent, or does as its model says."""

from __future__ import annotations

import os
import signal
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

MODEL = Path(os.environ.get("SMEXEC_OPT_ML", "/opt/ml"), "model", "model.txt").read_text(encoding="utf-8")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.answer(200, "text/plain", b"")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if body == b'"model"':
            self.answer(200, "application/json", f'"{MODEL}"'.encode())
        elif body == b'"fail"':
            print("Error in predict(): no such column", flush=True)
            self.answer(500, "text/plain", b"no such column")
        else:
            accepted = self.headers.get("Accept", "*/*")
            self.answer(200, self.headers["Content-Type"] if accepted == "*/*" else accepted, body)

    def answer(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
print(f"{MODEL} started as", *sys.argv[1:])
while MODEL == "slow" and not Path(os.environ["GATE"]).exists():
    time.sleep(0.05)
if MODEL == "crash":
    sys.exit("Error: there is no package called plumber")
address = ("0.0.0.0", int(os.environ.get("SAGEMAKER_BIND_TO_PORT", "8080")))
ThreadingHTTPServer(address, Handler).serve_forever()
