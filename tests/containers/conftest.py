"""Real containers: what ``nox -s containers`` has prepared for these tests, it says by variables."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from smexec.testing import LocalService, local_service


@pytest.fixture(scope="session")
def base() -> str:
    """An image that others are built upon."""
    return os.environ["TEST_CONTAINER_IMAGE"]


@pytest.fixture(scope="session")
def r_image() -> str:
    """What ``smexec image build`` has made of what ``smexec image init r`` wrote."""
    return os.environ["TEST_R_IMAGE"]


@pytest.fixture(scope="session")
def machine() -> Iterator[LocalService]:
    with local_service(engine="podman") as service:
        yield service


@pytest.fixture
def service(machine: LocalService) -> Iterator[LocalService]:
    """The local service with podman; the environment leads to it."""
    with machine.restored(), machine.environ():
        yield machine
