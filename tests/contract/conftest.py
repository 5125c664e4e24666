"""CPython's own tests of its executors, run on ours. ``nox -s contract`` brings a Python that has them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# The suite's executors are imported by name in child interpreters too.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session", autouse=True)
def _one_service_for_all() -> Iterator[None]:
    """Hold a lease over all tests, else every one of them would start a service of its own."""
    from smexec.local.lease import lease

    with lease():
        yield
