"""What does not show from outside; how slots behave is in test_main."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from smexec.worker.slot import Signals

SPINNING = """
import os, select, signal, sys, tempfile
from smexec.worker import slot

def close_everything_and_go_on():
    os.closerange(3, 256)
    signal.setitimer(signal.ITIMER_REAL, 0.2)  # ends the process
    signal.pause()

def counted(*args):
    global count
    count += 1
    return really(*args)

count, really, select.select = 0, select.select, counted
with slot.Signals() as signals, tempfile.TemporaryFile() as report:
    running = slot.Slot.start(close_everything_and_go_on, report, signals)
    running.wait()
    running.end()
print(running.status, running.reported, count < 20, count)
"""


def test_a_call_that_has_hung_up_is_waited_for_in_peace() -> None:
    command = [sys.executable, "-c", SPINNING]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=60)
    assert done.stdout.startswith(f"{signal.SIGALRM:d} False True")


def test_signals_are_given_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGCHLD)]
    with Signals() as signals:
        os.kill(os.getpid(), signal.SIGTERM)
        assert signals.terminated
        assert os.read(signals.reader, 10) == bytes([signal.SIGTERM])
    assert signal.set_wakeup_fd(-1) == -1
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGCHLD)] == before


def test_draining_leaves_nothing_to_wait_for() -> None:
    with Signals() as signals:
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGCHLD)
        signals.drain()
        signals.drain()
        assert not os.get_blocking(signals.reader)
