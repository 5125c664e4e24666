"""Images for scripts: directories with a Dockerfile, which the user may change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from smexec.images.checking import Finding, check
    from smexec.images.templates import init

__all__ = ["Finding", "check", "init"]

_HOMES = {"Finding": "checking", "check": "checking", "init": "templates"}


def __getattr__(name: str) -> Any:
    """What is heavy is imported when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
