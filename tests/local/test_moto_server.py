from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest

from smexec.local.moto_server import MotoServer


async def status(url: str) -> int:
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return answer.status


def test_requests_wait_until_moto_is_there_and_it_ends_with_the_block(tmp_path: Path) -> None:
    async def use() -> tuple[int, int]:
        async with MotoServer(tmp_path / "scratch", "123456789012") as moto:
            seen = await status(moto.url)
            end = asyncio.create_task(moto.died())
        return seen, await end

    assert asyncio.run(use()) == (200, 0)


def test_it_takes_the_scratch_directory_with_it(tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    (scratch / "below").mkdir(parents=True)

    async def use() -> None:
        async with MotoServer(scratch, "123456789012") as moto:
            await status(moto.url)

    asyncio.run(use())
    assert not scratch.exists()


def test_ports_are_free_ones(tmp_path: Path) -> None:
    async def use() -> set[str]:
        async with MotoServer(tmp_path / "a", "123456789012") as one, MotoServer(tmp_path / "b", "1") as two:
            return {one.url, two.url}

    assert len(asyncio.run(use())) == 2


@pytest.mark.parametrize("kept", [1 << 20, 1])
def test_an_object_in_memory_is_not_copied_to_be_read(kept: int) -> None:
    """Nor is one that moto keeps in a file another one."""
    program = (
        "from smexec.local.moto_server import _share_values; _share_values()\n"
        "from moto.s3.models import FakeKey\n"
        f"key = FakeKey('key', b'content', account_id='1', region_name='us-east-1', max_buffer_size={kept})\n"
        "assert key.value == b'content'\n"
        "print(key.value is key.value)\n"
        "key.dispose()\n"
    )
    answer = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert answer.stdout == f"{kept > 1}\n"
