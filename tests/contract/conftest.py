"""Suites that others wrote, run on ours: CPython's of its executors, joblib's of its backends."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# The suites' executors and backends are imported by name in child interpreters too.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session", autouse=True)
def _one_service_for_all() -> Iterator[None]:
    """Hold a lease over all tests, else every one of them would start a service of its own."""
    from smexec.local.lease import lease

    with lease():
        yield


def pytest_configure(config: pytest.Config) -> None:
    for marker in ("no_cover", "thread_unsafe"):
        config.addinivalue_line("markers", f"{marker}: joblib's own")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Of joblib's tests, leave out what is about another backend than ours."""
    theirs = [item for item in items if item.path.name == "test_joblib.py" and not _is_about_ours(item)]
    config.hook.pytest_deselected(items=theirs)
    items[:] = [item for item in items if item not in theirs]


def _is_about_ours(item: pytest.Item) -> bool:
    from backends import LocalBackend

    if not isinstance(item, pytest.Function) or item.module.__name__ == item.function.__module__:
        return True
    values = item.callspec.params.values() if hasattr(item, "callspec") else []
    return any(value == "sagemaker" or isinstance(value, LocalBackend) for value in values)
