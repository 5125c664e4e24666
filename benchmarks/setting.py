"""How the benchmarks are to be run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Setting:
    """:ivar quick: smaller numbers and fewer rivals: some two minutes for all
    :ivar environments: where the libraries' environments are kept
    """

    quick: bool
    environments: Path
