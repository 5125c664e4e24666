"""The child process that plays S3, CloudWatch Logs, STS, IAM, SQS and ECR: moto's server.

Started as ``python -m smexec.local.moto_server FD DIRECTORY``, with a listening socket that its parent has
bound (so that there is no race for the port, and requests queue until moto is imported) and with the read end
of a pipe as stdin.  The kernel closes that pipe when the parent dies, however it dies; the child then ends,
and takes with it the scratch directory that a killed parent could not remove.  A parent that ends in order
says a word before.
"""

from __future__ import annotations

import asyncio
import io
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Self

_TERMINATE_SECONDS = 60.0
_REMOVE_SECONDS = 60.0
_PAUSE_SECONDS = 0.05
_WORD = b"."
_IN_MEMORY = 4 << 30  # bytes


class MotoServer:
    """moto's server as a child process; an async context manager.

    Args:
        directory: the service's scratch directory.
        account: the id of the AWS account that it plays.
    """

    def __init__(self, directory: Path, account: str) -> None:
        self._directory = directory
        self._account = account
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self._process: asyncio.subprocess.Process | None = None
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    async def __aenter__(self) -> Self:
        environment = {
            **os.environ,
            "MOTO_ACCOUNT_ID": self._account,
            # Virtual-hosted addresses cannot be told from an IP address's first octet.
            "S3_IGNORE_SUBDOMAIN_BUCKETNAME": "true",
            "MOTO_DISABLE_GLOBAL_CORS": "true",
            # Objects below this size are kept in memory: from a file, each request reads all of it.
            "MOTO_S3_DEFAULT_KEY_BUFFER_SIZE": str(_IN_MEMORY),
        }
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", __spec__.name, str(self._socket.fileno()), str(self._directory),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            pass_fds=[self._socket.fileno()],
            env=environment,
            # Ctrl-C in a terminal is for the service, which then ends its children in order.
            start_new_session=True,
        )  # fmt: skip
        # The child has its own copy; ours would keep connections alive that nobody serves if it died.
        self._socket.close()
        return self

    async def __aexit__(self, *exception: object) -> None:
        if self._process is None:
            return
        if self._process.stdin is not None:
            self._process.stdin.write(_WORD)
            self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), _TERMINATE_SECONDS)
        except asyncio.TimeoutError:
            self._process.kill()
            await self._process.wait()

    async def died(self) -> int:
        """Wait for the child to end; its exit code."""
        if self._process is None:
            raise RuntimeError("the moto server was not started")
        return await self._process.wait()


def _end_with_parent(directory: str) -> None:
    """Block until the parent's end of the pipe is closed, then leave without waiting for open connections."""
    is_in_order = sys.stdin.buffer.read() == _WORD
    shutil.rmtree(directory, ignore_errors=True)
    # Jobs of a parent that was killed die with it, but may write until they do.
    deadline = time.monotonic() + _REMOVE_SECONDS
    while not is_in_order and Path(directory).exists() and time.monotonic() < deadline:
        time.sleep(_PAUSE_SECONDS)
        shutil.rmtree(directory, ignore_errors=True)
    os._exit(0)


def _share_values() -> None:
    """Have moto read a range of an object without reading, and copying, all of the object.

    Else a download in ranges takes time that grows with the square of the size.
    """
    from moto.s3.models import FakeKey

    copying: Any = FakeKey.value

    def value(key: Any) -> bytes:
        file = getattr(key._value_buffer, "_file", None)  # noqa: SLF001  # there is no other way to it
        value: bytes = file.getvalue() if isinstance(file, io.BytesIO) else copying.fget(key)
        return value

    FakeKey.value = property(value, copying.fset)  # type: ignore[assignment,method-assign]


def main(fd: int, directory: str) -> None:
    """Serve moto on the listening socket `fd` until the parent goes."""
    threading.Thread(target=_end_with_parent, args=[directory], daemon=True).start()
    from moto.moto_server import werkzeug_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    # Older versions of moto have no handler of their own.
    base: Any = getattr(werkzeug_app, "MotoRequestHandler", WSGIRequestHandler)

    class Handler(base):  # type: ignore[misc] # the base is only known when moto is there
        # Connections stay open: most of a small request's time is in making them.
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # head and body are two writes, and the second would wait for an ACK

        def log_request(self, code: Any = "-", size: Any = "-") -> None:
            """No access log: the service counts requests."""

    _share_values()
    app = werkzeug_app.DomainDispatcherApplication(werkzeug_app.create_backend_app)
    make_server("127.0.0.1", 0, app, threaded=True, request_handler=Handler, fd=fd).serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
