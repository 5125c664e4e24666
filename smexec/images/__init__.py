"""Images for scripts: directories with a Dockerfile, which the user may change, and builders of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from smexec.images.building import Build, build
    from smexec.images.checking import Finding, check
    from smexec.images.order import Image
    from smexec.images.templates import init

__all__ = ["Build", "Finding", "Image", "build", "check", "init"]

_HOMES = {
    "Build": "building",
    "Finding": "checking",
    "Image": "order",
    "build": "building",
    "check": "checking",
    "init": "templates",
}


def __getattr__(name: str) -> Any:
    """What is heavy is imported when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
