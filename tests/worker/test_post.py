"""Post as the worker uses it, without S3: what it sends when, and what it holds meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smexec.worker import post as posts
from smexec.worker import protocol, upload
from smexec.worker.container import OptMl, Orders
from smexec.worker.post import LATEST, SOONEST, Post, interval
from tests.worker.conftest import JOB, KEY, News

ORDERS = Orders(JOB, KEY, "s3://b/events/", None, isolated=True)
VALUE = {"outcome": "value"}


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Post]]:
    made: list[Post] = []

    def make(on_room: Callable[[], None] = lambda: None) -> Post:
        made.append(Post(ORDERS, OptMl(tmp_path), on_room))
        return made[-1]

    yield make
    for post in made:
        post.finish()
        if post._thread:
            post._thread.join()


def after(monkeypatch: pytest.MonkeyPatch, said: Callable[[], object]) -> None:
    """Have it said when an object is out."""
    real = Post._let_go

    def let_go(self: Post, size: int) -> None:
        real(self, size)
        said()

    monkeypatch.setattr(Post, "_let_go", let_go)


def objects(folder: Path) -> list[News]:
    output = OptMl(folder).output
    return [
        News([(number, (output / str(number)).read_bytes())]) for number in range(len(list(output.iterdir())))
    ]


# -- when ----------------------------------------------------------------------------------------------------


def test_the_interval_grows_with_what_was_sent() -> None:
    intervals = [interval(sent) for sent in range(1, 1000)]
    assert intervals[0] == SOONEST
    assert intervals == sorted(intervals)
    assert intervals[-1] == LATEST
    assert interval(10**9) == LATEST


@given(st.floats(0.0, 1e5))
def test_a_job_costs_a_request_a_second_and_a_few(seconds: float) -> None:
    elapsed, sent = 0.0, 1
    while elapsed + interval(sent) <= min(seconds, 1000.0):
        elapsed += interval(sent)
        sent += 1
    assert sent <= min(seconds, 1000.0) / LATEST + 5


def test_the_first_news_go_at_once_the_rest_together(
    make: Callable[..., Post], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(posts, "SOONEST", 1000.0)
    monkeypatch.setattr(posts, "LATEST", 1000.0)
    sent = threading.Event()
    after(monkeypatch, sent.set)
    post = make()
    post.started(0)
    assert sent.wait(60)
    for call in range(100):
        post.ended(call, {**VALUE, "sizes": [3]}, b"abc")
    post.close()
    first, rest = objects(tmp_path)
    assert (first.started, first.ended) == ([0], {})
    assert [bytes(told.sections[0]) for told in rest.ended.values()] == [b"abc"] * 100


def test_much_does_not_wait(
    make: Callable[..., Post], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(posts, "SOONEST", 1000.0)
    monkeypatch.setattr(posts, "LATEST", 1000.0)
    monkeypatch.setattr(posts, "ENOUGH", 100)
    sent = threading.Semaphore(0)
    after(monkeypatch, sent.release)
    post = make()
    for call in range(3):
        post.ended(call, {**VALUE, "sizes": [100]}, bytes(100))
        assert sent.acquire(timeout=60)
    assert [list(news.ended) for news in objects(tmp_path)] == [[0], [1], [2]]


@given(st.lists(st.integers(0, 250), min_size=1, max_size=30))
def test_what_is_large_travels_alone_and_all_in_order(sizes: list[int]) -> None:
    post = Post(ORDERS, OptMl(Path("/nowhere")), lambda: None)
    post._thread = threading.current_thread()  # none is started
    post._finished = True
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(posts, "ENOUGH", 100)
        for call, size in enumerate(sizes):
            post.ended(call, {**VALUE, "sizes": [size]}, bytes(size))
        taken = []
        while news := post._next():
            taken.append(news)
    assert [piece.call for news in taken for piece in news] == list(range(len(sizes)))
    for news, later in zip(taken, [*taken[1:], None], strict=True):
        total = sum(piece.size for piece in news)
        assert len(news) == 1 or total <= 100
        assert later is None or total + later[0].size > 100  # no more of them than need be


# -- what is held --------------------------------------------------------------------------------------------


def test_outcomes_that_wait_hold_no_file_open(
    make: Callable[..., Post], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(posts, "SOONEST", 1000.0)
    monkeypatch.setattr(posts, "LATEST", 1000.0)
    sent = threading.Event()
    after(monkeypatch, sent.set)
    post = make()
    post.started(0)
    assert sent.wait(60)  # from here on all wait
    descriptors = len(list(Path("/dev/fd").iterdir()))
    for call in range(100):
        path = tmp_path / f"outcome-{call}"
        path.write_bytes(call.to_bytes(2, "big"))
        post.ended(call, {**VALUE, "sizes": [1, 1]}, str(path))
    assert len(list(Path("/dev/fd").iterdir())) <= descriptors
    post.close()
    ended = {
        call: list(map(bytes, told.sections))
        for news in objects(tmp_path)
        for call, told in news.ended.items()
    }
    assert ended == {call: [bytes([0]), bytes([call])] for call in range(100)}
    assert list(tmp_path.glob("outcome-*")) == []


def test_when_too_much_waits_there_is_no_room(
    make: Callable[..., Post], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(posts, "MOST", 150)
    go_on, room = threading.Event(), threading.Event()
    monkeypatch.setattr(Post, "_send", lambda *_: go_on.wait(60))
    post = make(room.set)
    assert post.has_room
    for call in range(2):
        post.ended(call, {**VALUE, "sizes": [100]}, bytes(100))
    assert not post.has_room
    assert not room.is_set()
    go_on.set()
    assert room.wait(60)
    assert post.has_room


# -- what goes wrong -----------------------------------------------------------------------------------------


def test_news_that_cannot_leave_are_an_error(make: Callable[..., Post], tmp_path: Path) -> None:
    OptMl(tmp_path).output.parent.mkdir(parents=True)
    OptMl(tmp_path).output.write_text("in the way")
    woken = threading.Event()
    post = make(woken.set)
    post.started(0)
    assert woken.wait(60)  # whoever waits for room
    with pytest.raises(OSError, match="exists"):
        post.started(1)
    with pytest.raises(OSError, match="exists"):
        assert post.has_room
    with pytest.raises(OSError, match="exists"):
        post.close()


def test_an_envelope_is_whole_or_not_there(
    make: Callable[..., Post], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Under isolation the platform packs whatever lies there when the job is killed."""
    seen: list[tuple[str, bool]] = []
    real = Path.rename

    def rename(self: Path, target: Path) -> Path:
        seen.append((self.name, target.exists()))
        return real(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    post = make()
    post.ended(0, {**VALUE, "sizes": [1]}, b"x")
    post.close()
    assert seen[0] == ("0.part", False)
    assert sorted(path.name for path in OptMl(tmp_path).output.iterdir()) == [
        str(n) for n in range(len(seen))
    ]


def test_what_took_long_to_write_is_pointed_at(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """By the time that it was there, clients may have read on, beyond its name."""
    monkeypatch.setattr(posts, "LATE_AFTER", -1.0)
    written: list[tuple[str, bytes]] = []
    monkeypatch.setattr(upload, "upload", lambda uri, parts, *_: written.append((uri, b"".join(parts))))
    post = Post(ORDERS._replace(isolated=False), OptMl(tmp_path), lambda: None)
    post.ended(0, {**VALUE, "sizes": [1]}, b"x")
    post.close()
    (first, _), (second, pointer) = written  # what points is not pointed at, or there would be no end
    told = News([(1, pointer)]).ended[protocol.LATE]
    assert "s3://b/events/" + told.header["name"] == first
    assert second > first
