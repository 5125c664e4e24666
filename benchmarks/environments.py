"""A virtual environment for each library that is measured, so that none's requirements are another's."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
#: What pip is asked for. smexec has one of its own only for its installed size; else it runs where we run.
REQUIREMENTS: dict[str, tuple[str, ...]] = {
    "process_pool": (),
    "loky": ("loky",),
    "joblib": ("joblib",),
    "dask": ("distributed",),
    "lithops": ("lithops",),
    "sagemaker": ("sagemaker>=2.257,<3",),
    "smexec": (str(ROOT),),
}
DISTRIBUTIONS = {"dask": "distributed"}  # of another name than the library's
_UNINTERESTING = ("pip", "pip-*", "setuptools", "setuptools-*", "_distutils_hack", "pkg_resources", "*.pth")


class Skipped(Exception):
    """This cannot be measured here; the text says why."""


@dataclass(frozen=True)
class Environment:
    """:ivar python: its interpreter"""

    python: Path

    def size(self) -> float:
        """MiB of what was installed, with all that it requires, compiled modules included."""
        (packages,) = self.python.parents[1].glob("lib/python*/site-packages")
        left_out = {path for pattern in _UNINTERESTING for path in packages.glob(pattern)}
        files = (path for top in packages.iterdir() if top not in left_out for path in (top, *top.rglob("*")))
        return sum(path.lstat().st_size for path in files if not path.is_dir()) / 2**20

    def version(self, library: str) -> str:
        """Of the library that it is for."""
        program = f"import importlib.metadata as m; print(m.version({DISTRIBUTIONS.get(library, library)!r}))"
        done = subprocess.run([self.python, "-c", program], check=True, capture_output=True, text=True)
        return done.stdout.strip()


def environment(library: str, folder: Path) -> Environment:
    """The library's, made if it is not there yet.

    :param folder: where environments are kept
    :raises Skipped: it does not install
    """
    home = folder / library
    python = home / "bin" / "python"
    ready = home / "ready"
    if not ready.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", home], check=True)
        if REQUIREMENTS[library]:
            _install(library, python)
        ready.touch()
    return Environment(python)


def _install(library: str, python: Path) -> None:
    command = [str(python), "-m", "pip", "install", "--quiet", *REQUIREMENTS[library]]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise Skipped(f"{library} does not install: {(errors or ['pip failed'])[-1]}")
