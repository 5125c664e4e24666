"""Directories that stand for images on the embedded local service, as ``smexec image init`` writes them."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from smexec.core.settings import Settings
from smexec.errors import SettingsError

_MANIFEST = "image.json"  # what is in it, the local service says
_PATHS = (os.sep, f".{os.sep}", f"..{os.sep}", f"~{os.sep}")


def located(settings: Settings) -> Settings:
    """The same, with the whole path of the directory that is to be the image, if it is one.

    :raises SettingsError: it holds no image, or AWS is to run it
    """
    if settings.image_uri is None:
        return settings
    directory = Path(settings.image_uri).expanduser()
    if not (directory.is_dir() or settings.image_uri.startswith(_PATHS)):
        return settings
    given = f"image_uri={settings.image_uri!r}"
    if not directory.is_dir():
        raise SettingsError(f"{given}: there is no such directory")
    if not settings.is_local:
        raise SettingsError(
            f'{given} is a directory, which is an image for instance_type="local" only: build one of it '
            "(smexec image build), and give its URI"
        )
    if not (directory / _MANIFEST).is_file():
        raise SettingsError(
            f"{given} is a directory without {_MANIFEST}, and so no image: smexec image init makes one"
        )
    return dataclasses.replace(settings, image_uri=str(directory.resolve()))
