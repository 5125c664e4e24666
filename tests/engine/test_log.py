from __future__ import annotations

from functools import partial

import anyio
import pytest

from smexec.engine import log
from smexec.engine.log import Lines, Log


class Source:
    """Gives what it is told to, one after the other; and notes how often it was asked."""

    def __init__(self, *answers: Lines) -> None:
        self._answers = list(answers)
        self.asked = 0

    async def ask(self) -> Lines:
        self.asked += 1
        await anyio.sleep(0)
        return self._answers.pop(0)


@pytest.fixture(autouse=True)
def _prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "_PAUSE", 0.0)


def test_who_comes_together_asks_once() -> None:
    source, told, ours = Source(("one",), ("one", "two")), list[Lines](), Log()

    async def tell() -> None:
        told.append(await ours.tail(source.ask))

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(tell)
        await tell()

    anyio.run(main)
    assert told == [("one",)] * 5 + [("one", "two")]
    assert source.asked == 2


def test_who_comes_while_it_is_asked_for_is_told_what_is_newer() -> None:
    source, ours, told = Source(("old",), ("new",)), Log(), list[Lines]()

    async def main() -> None:
        came = anyio.Event()

        async def tell_another() -> None:
            came.set()
            told.append(await ours.tail(source.ask))

        async def ask() -> Lines:
            tasks.start_soon(tell_another)
            await came.wait()
            return await source.ask()

        async with anyio.create_task_group() as tasks:
            told.append(await ours.tail(ask))

    anyio.run(main)
    assert told == [("old",), ("new",)]


def test_an_empty_log_is_waited_for_once() -> None:
    source, ours = Source((), (), (), (), ("late",)), Log()
    told = [anyio.run(partial(ours.tail, source.ask)) for _ in range(3)]
    assert told == [(), (), ("late",)]
    assert source.asked == 5
