"""Runs a client program in a process of its own, on a service of its own, and looks at both from outside."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.clients.fan_out import Order
from benchmarks.environments import ROOT, Skipped
from smexec import testing

CLIENTS = Path(__file__).parent / "clients"
PATIENCE = 900.0  # seconds
_OF_THE_SERVICE = frozenset({"smexec", "smexec_joblib", "sagemaker"})
_LOOK = 0.1  # seconds between two looks at a client's threads

#: The SageMaker SDK would report its use to a host outside.
_SDK_CONFIG = "SchemaVersion: '1.0'\nSageMaker: {PythonSDK: {Modules: {TelemetryOptOut: true}}}\n"


@dataclass(frozen=True)
class Report:
    """:ivar figures: what the client printed, and ``threads``: the most that it had
    :ivar requests: what the service was asked for meanwhile, by ``service.Operation``
    """

    figures: dict[str, Any]
    requests: Counter[str]

    def __getitem__(self, name: str) -> Any:
        return self.figures[name]

    def asked(self, service: str) -> int:
        """Requests for all operations of a service."""
        return sum(count for name, count in self.requests.items() if name.startswith(service + "."))


def fan_out(order: Order, python: Path | None = None, **config: Any) -> Report:
    """Run :mod:`benchmarks.clients.fan_out`; with a service if the library wants one.

    :param python: of the library's environment; ours unless given
    :param config: of the local service
    :raises Skipped: it fails, or does not end
    """
    python = python or Path(sys.executable)
    argument = json.dumps(dataclasses.asdict(order))
    if order.library not in _OF_THE_SERVICE:
        return Report(run(python, "fan_out.py", argument, {}), Counter())
    with service_with(python, **config) as service:
        figures = run(python, "fan_out.py", argument, environment_of(service))
        return Report(figures, service.requests())


@contextlib.contextmanager
def service_with(python: Path, **config: Any) -> Iterator[testing.LocalService]:
    """A service whose jobs' ``python`` is this one."""
    before = os.environ["PATH"]
    os.environ["PATH"] = f"{python.parent}{os.pathsep}{before}"  # jobs inherit it from the service
    try:
        with testing.local_service(**config) as service:
            yield service
    finally:
        os.environ["PATH"] = before


def run(python: Path, program: str, argument: str, environment: Mapping[str, str]) -> dict[str, Any]:
    """What a client program prints, and its most threads.

    :raises Skipped: it fails, or does not end
    """
    with (
        # What a library leaves running may still write there.
        tempfile.TemporaryDirectory(prefix="smexec-bench-", ignore_cleanup_errors=True) as scratch,
        tempfile.TemporaryFile("w+") as said,
    ):
        Path(scratch, "sdk.yaml").write_text(_SDK_CONFIG, encoding="utf-8")
        process = subprocess.Popen(
            [python, CLIENTS / program, argument],
            env={**_clean(scratch, python), **environment},
            cwd=scratch,
            stdout=said,
            stderr=subprocess.STDOUT,
        )
        threads = _watch(process)
        said.seek(0)
        lines = said.read().splitlines()
    printed = [line for line in lines if line.startswith("{")]  # some libraries talk, before and after
    if process.returncode or not printed:
        raise Skipped(f"exit code {process.returncode}: {lines[-1] if lines else 'it said nothing'}")
    figures = {**json.loads(printed[-1]), "threads": threads}
    print(f"  {program} {argument}: {figures}", file=sys.stderr, flush=True)  # it may take long to the table
    return figures


def _watch(process: subprocess.Popen[Any]) -> int:
    """Wait for its end; the most threads that it had at a time."""
    end, most = time.monotonic() + PATIENCE, 0
    while process.poll() is None:
        if time.monotonic() > end:
            process.kill()
            process.wait()
            raise Skipped(f"it did not end in {PATIENCE:.0f} s")
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            most = max(most, len([*Path(f"/proc/{process.pid}/task").iterdir()]))
        time.sleep(_LOOK)
    return most


def _clean(scratch: str, python: Path) -> dict[str, str]:
    """An environment in which libraries leave their files where we find them, and know no other AWS."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "SMEXEC_"))}
    return {
        **kept,
        "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT) if python == Path(sys.executable) else "",
        "HOME": scratch,
        "TMPDIR": scratch,
        "SAGEMAKER_USER_CONFIG_OVERRIDE": str(Path(scratch, "sdk.yaml")),
    }


def environment_of(service: testing.LocalService) -> dict[str, str]:
    """What leads a client to the service."""
    return {**service.environment, "BUCKET": service.bucket}
