"""Images without an engine: directories that hold what a container's command needs, by the image's name.

A directory has a file ``image.json``, whose members are all optional::

    {"entrypoint": ["Rscript", "/opt/ml/entrypoint.R"], "cmd": ["train"], "env": {"R_LIBS": "/opt/ml/lib"},
     "files": {"/opt/ml/entrypoint.R": "entrypoint.R", "/opt/ml/lib": "lib"}}

``entrypoint``, ``cmd`` and ``env`` are those of a Dockerfile; ``files`` are its COPYs, path in the container
to path in the directory, for paths below /opt/ml.  All else of the machine is as it is.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path, PurePosixPath
from typing import Any

from smexec.local.layout import OPT_ML, JobFailure

MANIFEST = "image.json"


@dataclass(frozen=True)
class Image:
    """What an image says of its containers; see the module."""

    directory: Path
    entrypoint: Sequence[str] = ()
    cmd: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)

    def command(self, entrypoint: Sequence[str], arguments: Sequence[str]) -> list[str]:
        """What runs, by docker's rules: another entry point drops the image's own arguments too."""
        if entrypoint:
            return [*entrypoint, *arguments]
        return [*self.entrypoint, *(arguments or self.cmd)]

    def place(self, opt_ml: Path) -> None:
        """Copy the files to where a container sees them; what the platform has put there stays."""
        for path, name in self.files.items():
            source, target = self.directory / name, opt_ml / PurePosixPath(path).relative_to(OPT_ML)
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)
            else:
                shutil.copy2(source, target)


def find_image(images: Mapping[str, str], name: str) -> Image | None:
    """The image of that name in the service's configuration; None if it has none.

    Raises:
        JobFailure: it is there, but is no image.
    """
    if name not in images:
        return None
    directory = Path(images[name])
    try:
        return parse(directory, json.loads((directory / MANIFEST).read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise JobFailure(f"ClientError: the image {name} cannot be read: {error}") from error


def parse(directory: Path, manifest: Any) -> Image:
    """The image that the content of a manifest describes.

    Raises:
        ValueError: it describes none.
    """
    if not isinstance(manifest, dict):
        raise ValueError(f"{MANIFEST} must hold an object")  # noqa: TRY004  (what is wrong is a file)
    members = {one.name: one for one in fields(Image) if one.name != "directory"}
    if manifest.keys() - members.keys():
        raise ValueError(f"{MANIFEST} has {min(manifest.keys() - members.keys())!r}, not one of {[*members]}")
    for name, value in manifest.items():
        _require_strings(name, value, dict if name in {"env", "files"} else list)
    for path in manifest.get("files", ()):
        place = PurePosixPath(path)
        if not place.is_relative_to(OPT_ML) or place == OPT_ML or ".." in place.parts:
            raise ValueError(f"{MANIFEST}: files can be below {OPT_ML}, not at {path}")
    return Image(directory, **manifest)


def _require_strings(name: str, value: Any, kind: type) -> None:
    items = value.values() if isinstance(value, dict) else value
    if not isinstance(value, kind) or not all(isinstance(item, str) for item in items):
        raise ValueError(f"{MANIFEST}: {name} must be a {kind.__name__} of strings")
