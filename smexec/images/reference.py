"""Names of images, as docker reads them: ``NAME``, ``NAME:TAG``, ``REGISTRY/NAME:TAG``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from smexec.errors import SettingsError

_PART = r"[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"{_PART}(?:/{_PART})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_ECR = re.compile(r"(?P<account>\d{12})\.dkr[.-]ecr(?:-fips)?\.(?P<region>[a-z0-9-]+)\.[a-z0-9.-]+[a-z0-9]")


class Registry(NamedTuple):
    """An account's registry in ECR.

    :ivar host: as images' names begin
    """

    host: str
    account: str
    region: str


@dataclass(frozen=True)
class Reference:
    """An image's name.

    :ivar registry: host of the registry that it names; empty: none
    """

    registry: str
    name: str
    tag: str

    @classmethod
    def of(cls, text: str) -> Reference:
        """The image that a text names; without a tag, ``latest``.

        :raises SettingsError: it names none
        """
        host, slash, rest = text.partition("/")
        if not slash or not (set(".:") & set(host) or host == "localhost"):
            host, rest = "", text
        name, colon, tag = rest.partition(":")
        if not _NAME.fullmatch(name) or (colon and not _TAG.fullmatch(tag)):
            raise SettingsError(
                f"repository={text!r} is no name of an image: NAME, NAME:TAG or REGISTRY/NAME:TAG, the name "
                "in lower case"
            )
        return cls(host, name, tag or "latest")

    def __str__(self) -> str:
        return f"{self.registry}/{self.name}:{self.tag}" if self.registry else f"{self.name}:{self.tag}"

    @property
    def ecr(self) -> Registry | None:
        """The account's registry that it names; None: it names another, or none."""
        return next(iter(registries(self.registry)), None)


def registries(text: str) -> list[Registry]:
    """All that a Dockerfile, or a flag, speaks of; each once, in their order."""
    found = (Registry(match[0], match["account"], match["region"]) for match in _ECR.finditer(text))
    return list(dict.fromkeys(found))
