"""What many calls have in common, over the real wire."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from smexec import SageMakerExecutor
from smexec.testing import LocalService

CALLS, JOBS = 20, 4


def uploaded(service: LocalService, executor: SageMakerExecutor) -> dict[str, int]:
    """Key → bytes of what a run has put into the bucket for its jobs."""
    pages = service.client("s3").get_paginator("list_objects_v2").paginate(Bucket=service.bucket)
    objects = {item["Key"]: item["Size"] for page in pages for item in page.get("Contents", [])}
    of_run = {key: size for key, size in objects.items() if executor.run_id in key}
    return {key: size for key, size in of_run.items() if "/batches/" in key or "/shared/" in key}


def look_up(table: dict[str, str], number: int) -> tuple[int, str]:
    table[str(number)] = "changed"
    return len(table), table[str(number + 1)]


@pytest.fixture(scope="module")
def table() -> dict[str, str]:
    return {str(number): f"{number:0100}" for number in range(50_000)}


def test_a_large_argument_of_many_calls_is_uploaded_once(
    smexec_service: LocalService, table: dict[str, str]
) -> None:
    calls = [(table, number) for number in range(CALLS)]
    with SageMakerExecutor(max_workers=JOBS) as executor:
        results = list(executor.starmap(look_up, calls, chunksize=CALLS // JOBS))
    assert results == [(50_000, table[str(number + 1)]) for number in range(CALLS)]
    sizes = uploaded(smexec_service, executor)
    (shared,) = (size for key, size in sizes.items() if "/shared/" in key)
    assert shared > 5_000_000
    assert sum(sizes.values()) - shared < 100_000
    assert sum("/batches/" in key for key in sizes) >= JOBS


def test_what_is_changed_while_a_map_is_read_travels_as_it_was_then(smexec_service: LocalService) -> None:
    table: dict[str, Any] = {str(number): "x" * 100_000 for number in range(20)}

    def calls() -> Iterator[tuple[dict[str, Any], str]]:
        for number in range(6):
            if number > 3:
                table["number"] = number
            yield table, "number"

    with SageMakerExecutor(max_workers=2) as executor:
        results = list(executor.starmap(dict.get, calls(), buffersize=2))
    assert results == [None, None, None, None, 4, 5]
    sizes = uploaded(smexec_service, executor)
    assert sum("/shared/" in key for key in sizes) == 3
