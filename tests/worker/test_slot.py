"""What does not show from outside; how slots behave is in test_main and test_monitor."""

from __future__ import annotations

import errno
import mmap
import os
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from smexec.worker import aside, slot
from smexec.worker.call import Outcome
from smexec.worker.slot import Board, Link

LINUX = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="Linux has such memory")
NOBODY = 2**31 - 1  # beyond what any system gives a process


@pytest.fixture(autouse=True)
def killed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Signals that would have been sent: no test of this module sends one."""
    killed: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "killpg", lambda *what: killed.append(what))
    return killed


@pytest.fixture
def ends() -> Any:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


@pytest.fixture
def in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever its size, it goes by memory."""
    monkeypatch.setattr(aside, "LARGE", 0)
    monkeypatch.setattr(aside, "LEAST", 0)


def give_back(connection: socket.socket, call: int, outcome: Outcome, folder: Path) -> None:
    slot._give_back(connection, call, outcome, folder / "outcome", 1)


def test_an_outcome_comes_through_the_link(ends: Any, tmp_path: Path) -> None:
    ours, theirs = ends
    link = Link(0, NOBODY, ours)
    assert link.receive() is None
    link.give(7)
    assert theirs.recv(10) == b"\0\0\0\x07"
    give_back(theirs, 7, Outcome({"outcome": "value"}, [b"ab", memoryview(b"c")]), tmp_path)
    frame = link.receive()
    assert frame == (7, {"outcome": "value", "sizes": [2, 1]}, b"abc")
    assert link.call is None
    assert list(tmp_path.iterdir()) == []


def test_it_comes_in_pieces(ends: Any, tmp_path: Path) -> None:
    ours, theirs = ends
    inner, outer = socket.socketpair()
    with inner, outer:
        give_back(inner, 3, Outcome({"outcome": "value"}, [b"x" * 99]), tmp_path)
        content = outer.recv(1000)
    link = Link(0, NOBODY, ours)
    link.call = 3
    for at in range(len(content) - 1):
        theirs.send(content[at : at + 1])
        assert link.receive() is None
        assert link.call == 3
    theirs.send(content[-1:])
    frame = link.receive()
    assert frame is not None
    assert frame.sections == b"x" * 99


def test_half_a_frame_of_a_slot_that_died_is_none(ends: Any) -> None:
    ours, theirs = ends
    link = Link(0, NOBODY, ours)
    link.call = 3
    theirs.send(b"\0\0\0\x03" + b"\0\0\0\xff" + bytes(8) + b"{")
    theirs.close()
    assert link.receive() is None
    assert (link.call, link.hung_up) == (3, True)


@pytest.mark.parametrize("junk", [bytes(16), b"hello" * 4, b"\0\0\0\x03" + b"\0\0\0\x02" + bytes(8) + b"{!"])
def test_a_slot_that_writes_junk_is_killed(ends: Any, killed: list[tuple[int, int]], junk: bytes) -> None:
    ours, theirs = ends
    link = Link(0, NOBODY, ours)
    link.call = 3
    theirs.send(junk)
    assert link.receive() is None
    assert (killed, link.call) == ([(NOBODY, signal.SIGKILL)], 3)  # the call's end is its process's


def test_a_large_outcome_goes_by_a_file(ends: Any, tmp_path: Path) -> None:
    ours, theirs = ends
    content = os.urandom(aside.LEAST)
    give_back(theirs, 7, Outcome({"outcome": "value"}, [b"ab", content]), tmp_path)
    link = Link(0, NOBODY, ours)
    link.call = 7
    frame = link.receive()
    assert frame is not None
    assert frame.header == {"outcome": "value", "sizes": [2, aside.LEAST]}
    assert isinstance(frame.sections, str)
    assert Path(frame.sections).read_bytes() == b"ab" + content


@LINUX
@pytest.mark.usefixtures("in_memory")
def test_a_larger_one_goes_by_memory(ends: Any, tmp_path: Path) -> None:
    ours, theirs = ends
    descriptors = len(list(Path("/dev/fd").iterdir()))
    link = Link(0, NOBODY, ours)
    for content in (b"first", os.urandom(aside.LEAST + 1)):
        link.call = 7
        give_back(theirs, 7, Outcome({"outcome": "value"}, [b"ab", content]), tmp_path)
        frame = link.receive()
        assert frame is not None
        assert (frame.header["sizes"], frame.sections) == ([2, len(content)], b"ab" + content)
        del frame
        assert len(list(Path("/dev/fd").iterdir())) == descriptors
    assert list(tmp_path.iterdir()) == []


def test_memory_that_was_spoken_of_and_has_not_come(ends: Any, killed: list[tuple[int, int]]) -> None:
    ours, theirs = ends
    link = Link(0, NOBODY, ours)
    link.call = 3
    text = b'{"outcome": "value", "sizes": [9], "memory": true}'
    theirs.send(slot._FRAME.pack(3, len(text), 0) + text)
    assert link.receive() is None
    assert killed == [(NOBODY, signal.SIGKILL)]


@LINUX
@pytest.mark.usefixtures("in_memory")
def test_memory_that_cannot_be_mapped(
    ends: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    killed: list[tuple[int, int]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    ours, theirs = ends
    link = Link(0, NOBODY, ours)
    link.call = 7
    give_back(theirs, 7, Outcome({"outcome": "value"}, [b"ab"]), tmp_path)

    def no_more(*_: Any, **__: Any) -> Any:
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr(mmap, "mmap", no_more)
    assert link.receive() is None
    assert killed == [(NOBODY, signal.SIGKILL)]
    assert "cannot be mapped" in capsys.readouterr().err


@LINUX
@pytest.mark.usefixtures("in_memory")
def test_memory_of_a_slot_that_died_is_let_go(ends: Any, tmp_path: Path) -> None:
    ours, theirs = ends
    link = Link(0, NOBODY, ours)
    link.doomed = True
    descriptors = len(list(Path("/dev/fd").iterdir()))
    give_back(theirs, 7, Outcome({"outcome": "value"}, [b"ab"]), tmp_path)
    assert link.receive() is None
    link.close()
    assert len(list(Path("/dev/fd").iterdir())) == descriptors - 1


def test_where_no_file_can_be_written_it_goes_through_the_link(
    ends: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(aside, "LEAST", 10)
    ours, theirs = ends
    give_back(theirs, 7, Outcome({"outcome": "value"}, [bytes(100)]), tmp_path / "gone")
    link = Link(0, NOBODY, ours)
    link.call = 7
    frame = link.receive()
    assert frame is not None
    assert frame.sections == bytes(100)
    assert "cannot be written" in capsys.readouterr().err


def test_a_slot_that_is_gone_takes_orders_in_silence(ends: Any) -> None:
    ours, theirs = ends
    theirs.close()
    link = Link(0, NOBODY, ours)
    link.give(1)
    link.dismiss()
    link.send(signal.SIGTERM)
    link.kill()
    assert link.doomed


def test_what_has_begun_shows_on_the_board() -> None:
    board = Board(3)
    assert not board.has_begun(0, 0)
    board.begin(1, 0)
    assert [board.has_begun(slot, 0) for slot in range(3)] == [False, True, False]
    board.begin(1, 9_999)
    assert not board.has_begun(1, 0)
    assert board.has_begun(1, 9_999)
