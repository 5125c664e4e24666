"""``python -m smexec.local``: run the service; a line of JSON on stdout says that it is ready, and where."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
from collections.abc import Sequence

from smexec.local.config import add_arguments, from_arguments
from smexec.local.server import Service, serve


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line and serve until told to end."""
    parser = argparse.ArgumentParser(
        prog="python -m smexec.local", description="An embedded local SageMaker."
    )
    add_arguments(parser)
    try:
        config = from_arguments(parser.parse_args(arguments))
    except ValueError as error:
        parser.error(str(error))
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(name)s: %(message)s")
    asyncio.run(serve(config, _announce))


def _announce(service: Service) -> None:
    sys.stdout.write(json.dumps(service.describe()) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
