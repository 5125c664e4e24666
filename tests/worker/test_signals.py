from __future__ import annotations

import os
import signal

import pytest

from smexec.worker.signals import Signals, held, signal_group


def test_signals_are_given_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGCHLD)]
    with Signals() as signals:
        os.kill(os.getpid(), signal.SIGTERM)
        assert signals.terminated
        assert signal.SIGTERM in os.read(signals.reader, 10)  # a child may have ended as well
    assert signal.set_wakeup_fd(-1) == -1
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGCHLD)] == before


def test_handlers_of_the_users_are_given_back() -> None:
    def users(*_: object) -> None: ...

    before = signal.signal(signal.SIGTERM, users)
    try:
        with Signals():
            assert signal.getsignal(signal.SIGTERM) is not users
        assert signal.getsignal(signal.SIGTERM) is users
    finally:
        signal.signal(signal.SIGTERM, before)


def test_draining_leaves_nothing_to_wait_for() -> None:
    with Signals() as signals:
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGCHLD)
        signals.drain()
        signals.drain()
        assert not os.get_blocking(signals.reader)


def test_threads_can_wake_the_one_that_waits() -> None:
    signals = Signals()
    with signals:
        for _ in range(100_000):  # more than a pipe holds
            signals.wake()
        assert 0 in os.read(signals.reader, 100)  # beside the number of a signal, say
        assert not signals.terminated
    signals.wake()  # nobody waits any more


def test_signals_that_somebody_left_blocked_are_heard() -> None:
    with held(signal.SIGTERM), Signals() as signals:
        os.kill(os.getpid(), signal.SIGTERM)
        assert signals.terminated


def test_a_signal_waits_until_it_may_come() -> None:
    with Signals() as signals:
        with held(signal.SIGTERM):
            signal.raise_signal(signal.SIGTERM)  # to this thread: another would take it that does not hold it
            assert not signals.terminated
        assert signals.terminated


@pytest.mark.parametrize("leader", [1, 0, -1, -12])
def test_nobody_elses_processes_are_signalled(monkeypatch: pytest.MonkeyPatch, leader: int) -> None:
    """To the system, 1 means every process of the machine."""
    monkeypatch.setattr(os, "killpg", lambda *_: pytest.fail("it was sent"))
    with pytest.raises(ValueError, match="leads no group of ours"):
        signal_group(leader, signal.SIGKILL)


def test_a_group_that_is_gone_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: int) -> None:
        raise ProcessLookupError

    monkeypatch.setattr(os, "killpg", gone)
    signal_group(2**31 - 1, signal.SIGKILL)
