"""``python -m smexec.local.leased``: a service that ends when nobody wants it any more.

A line of JSON on its standard input tells what it is to be (see :func:`smexec.local.lease.order`), and the
rest of the standard input is its first lease, which holds until the other end is closed. A line of JSON on
standard output says that it is ready, and where.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from smexec.local.config import ServiceConfig
from smexec.local.lease import Place, service_environment

if TYPE_CHECKING:
    from smexec.local.server import Service


def main() -> None:
    """Read the order and serve."""
    order = json.loads(sys.stdin.readline())
    place = order["place"] and Place(Path(order["place"]))
    serve(ServiceConfig(**order["config"]), place, ready=_hold_by_stdin)


def serve(
    config: ServiceConfig,
    place: Place | None,
    ready: Callable[[Service], None],
    starting: contextlib.AbstractContextManager[None] | None = None,
) -> None:
    """Run a service to its end, published in its place if it has one.

    Args:
        config: its settings.
        place: where to publish it.
        ready: called in the service's loop when it can be used.
        starting: entered until then; the lock of the place, unless somebody else holds it for us.
    """
    from smexec.local.server import serve

    environment = service_environment()
    os.environ.clear()
    os.environ.update(environment)
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(name)s: %(message)s")

    with (
        _withdrawn(place) if place else contextlib.nullcontext(),
        contextlib.ExitStack() as started,
    ):
        if starting:
            started.enter_context(starting)

        def publish(service: Service) -> None:
            if place:
                place.publish(service.describe())
            started.close()
            ready(service)

        asyncio.run(serve(config, publish))


@contextlib.contextmanager
def _withdrawn(place: Place) -> Iterator[None]:
    """After the service's end, remove what it has published, unless its successor is about to start there."""
    try:
        yield
    finally:
        with contextlib.suppress(BlockingIOError), place.locked(wait=False):
            description = place.read()
            if description is None or description["pid"] == os.getpid():
                place.clear()


def _hold_by_stdin(service: Service) -> None:
    """Take the first lease, on behalf of whoever has the other end of our standard input; and tell it."""
    lease = contextlib.ExitStack()
    lease.enter_context(service.leases.taken())
    loop = asyncio.get_running_loop()

    def look() -> None:
        if not os.read(0, 1 << 12):
            loop.remove_reader(0)
            lease.close()

    loop.add_reader(0, look)
    sys.stdout.write(json.dumps(service.describe()) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
