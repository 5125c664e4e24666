"""Every setting of the local service, once: its name, default, meaning and how it is read from a command
line.

Python callers build a :class:`ServiceConfig`; command lines get their options from :func:`add_arguments`; a
running service takes the :data:`LIVE` ones through its control API.  Mappings are merged, so that a test can
set one instance type's quota without restating the others.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

UNLIMITED = -1
"""As a quota: no limit.  As a number of capacity errors: for ever."""


def _about(meaning: str, *, live: bool = False, **extra: Any) -> dict[str, Any]:
    """Metadata of a setting: `live` means that a running service takes a new value."""
    return {"help": meaning, "live": live, **extra}


@dataclass
class ServiceConfig:
    """What the service is and how it behaves; seconds and instances throughout.

    Defaults are those a test wants: no limits, no delays.  :meth:`realistic` gives those of a real account.

    Raises:
        TypeError, ValueError: a setting that cannot be.
    """

    host: str = field(default="127.0.0.1", metadata=_about("address to listen on"))
    port: int = field(default=0, metadata=_about("port to listen on; 0 takes a free one"))
    region: str = field(default="us-east-1", metadata=_about("the AWS region the service plays"))
    account: str = field(default="123456789012", metadata=_about("the AWS account the service plays"))
    engine: str = field(
        default="process",
        metadata=_about("what runs a job's command", choices=("process", "podman", "docker")),
    )
    memory: str | None = field(
        default=None,
        metadata=_about("memory of a container, as podman and docker write it: 512m, 4g", item=str),
    )
    image: dict[str, str] = field(
        default_factory=dict,
        metadata=_about(
            "directory that stands for an image where no engine has any; see smexec.local.images",
            live=True,
            item=str,
        ),
    )
    rates: dict[str, float] = field(
        default_factory=dict,
        metadata=_about("requests per second of an API, over all clients", live=True, item=float),
    )
    quotas: dict[str, int] = field(
        default_factory=dict,
        metadata=_about(
            "on-demand instances of a type; '*' for the types not named, 'total' for all together",
            live=True,
            item=int,
        ),
    )
    spot_quotas: dict[str, int] = field(
        default_factory=dict,
        metadata=_about("spot instances of a type; '*' for the types not named", live=True, item=int),
    )
    warm_pool_quotas: dict[str, int] = field(
        default_factory=dict,
        metadata=_about("instances of a type kept in warm pools; '*' for the others", live=True, item=int),
    )
    processing_quotas: dict[str, int] = field(
        default_factory=dict,
        metadata=_about(
            "instances of a type for processing jobs; '*' for the others, 'total' for all together",
            live=True,
            item=int,
        ),
    )
    transform_quotas: dict[str, int] = field(
        default_factory=dict,
        metadata=_about(
            "instances of a type for transform jobs; '*' for the others, 'total' for all together",
            live=True,
            item=int,
        ),
    )
    endpoint_quotas: dict[str, int] = field(
        default_factory=dict,
        metadata=_about(
            "instances of a type for endpoints; '*' for the others, 'total' for all together",
            live=True,
            item=int,
        ),
    )
    max_runtime_quota: int = field(
        default=432_000,
        metadata=_about("longest MaxRuntimeInSeconds that the account may ask for", live=True),
    )
    release_delay: float = field(
        default=0.0,
        metadata=_about("how long a stopped job's instances still count for the quota", live=True),
    )
    delays: dict[str, float] = field(
        default_factory=dict,
        metadata=_about(
            "least time in a phase: Starting, Downloading, Training, Uploading or Stopping",
            live=True,
            item=float,
        ),
    )
    cold_start: float = field(default=0.0, metadata=_about("time to launch new instances", live=True))
    warm_start: float = field(
        default=0.0, metadata=_about("time to take instances over from a warm pool", live=True)
    )
    capacity_errors: dict[str, int] = field(
        default_factory=dict,
        metadata=_about(
            "how many of the next jobs on an instance type find no capacity; -1: all", live=True, item=int
        ),
    )
    stop_grace: float = field(default=120.0, metadata=_about("time between SIGTERM and SIGKILL", live=True))
    invocation_timeout: float = field(
        default=60.0, metadata=_about("how long an endpoint's container may take to answer", live=True)
    )
    lease_grace: float | None = field(
        default=None,
        metadata=_about("end this long after the last lease is given back; unset: run on", item=float),
    )

    def __post_init__(self) -> None:
        for name, setting in _settings().items():
            value, choices = getattr(self, name), setting.metadata.get("choices")
            if choices and value not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}, not {value!r}")
            if setting.metadata["live"]:
                setattr(self, name, self._checked(name, value))
        self.image = located(self.image)

    def configure(self, changes: Mapping[str, Any]) -> None:
        """Apply `changes` to the live settings; all or none.

        Mappings are merged, and an item set to None goes back to the default.

        Raises:
            TypeError: a value of the wrong type.
            ValueError: an unknown setting, or one that a running service cannot change.
        """
        checked = {name: self._checked(name, value) for name, value in changes.items()}
        for name, value in checked.items():
            setattr(self, name, value)

    def _checked(self, name: str, value: Any) -> Any:
        """The value that live setting `name` gets, merged with the present one."""
        setting = _settings().get(name)
        if setting is None or not setting.metadata["live"]:
            known = ", ".join(n for n, setting in _settings().items() if setting.metadata["live"])
            raise ValueError(f"{name!r} cannot be set on a running service; these can: {known}")
        present = getattr(self, name)
        if "item" not in setting.metadata:
            return _item(name, value, type(setting.default))
        if not isinstance(value, Mapping):
            raise TypeError(f"{name} must be a mapping, not {value!r}")
        merged = {**present, **value}
        kind = setting.metadata["item"]
        return {key: _item(name, item, kind) for key, item in merged.items() if item is not None}

    @classmethod
    def realistic(cls, **settings: Any) -> ServiceConfig:
        """The rates, quotas and times that users of new accounts report (facts on rates, quotas, times).

        Cold and warm starts take their real 85 and 20 seconds: a rehearsal, not a test's setting.
        """
        return cls(**{**REALISTIC, **settings})


REALISTIC: dict[str, Any] = {
    # The rates of ListTrainingJobs and CreateProcessingJob are reported by users, the others are estimates.
    "rates": {
        "CreateTrainingJob": 1.0,
        "DescribeTrainingJob": 2.0,
        "ListTrainingJobs": 2.0,
        "StopTrainingJob": 1.0,
        "CreateProcessingJob": 1.0,
    },
    "quotas": {
        "*": 0,
        **{
            f"ml.{family}.{size}": 30
            for family in ("m5", "c5")
            for size in ("large", "xlarge", "2xlarge", "4xlarge")
        },
        "ml.c5.9xlarge": 8,
        "ml.c5.18xlarge": 8,
        "ml.m5.12xlarge": 8,
        "ml.m5.24xlarge": 3,
        **{
            f"ml.{family}.{size}": 1 for family in ("g4dn", "g5") for size in ("xlarge", "2xlarge", "4xlarge")
        },
    },
    "spot_quotas": {"*": 0, "ml.m5.large": 4, "ml.m5.xlarge": 4, "ml.c5.xlarge": 4},
    "warm_pool_quotas": {"*": 0},
    "release_delay": 30.0,
    "cold_start": 85.0,
    "warm_start": 20.0,
}


def _settings() -> dict[str, dataclasses.Field[Any]]:
    return {setting.name: setting for setting in dataclasses.fields(ServiceConfig)}


def _item(name: str, value: Any, kind: Callable[[Any], Any]) -> Any:
    """`value` as `kind` (str, int or float), refusing other types; NaN would compare as no limit at all."""
    if kind is str:
        if not isinstance(value, str):
            raise TypeError(f"{name} takes strings, not {value!r}")
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} takes numbers, not {value!r}")
    if math.isnan(value) or (kind is int and value != int(value)):
        raise ValueError(f"{name} takes {'whole ' if kind is int else ''}numbers, not {value!r}")
    return kind(value)


def located(images: Mapping[str, str]) -> dict[str, str]:
    """Image to directory, the directories as anybody finds them, wherever he works: the service elsewhere."""
    return {name: str(Path(directory).resolve()) for name, directory in images.items()}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give `parser` one option for each setting, and ``--realistic``.

    Mappings take NAME=VALUE, any number of times.
    """
    parser.add_argument(
        "--realistic", action="store_true", help="rates, quotas and start times of a new account"
    )
    for name, setting in _settings().items():
        flag, meaning, item = _flag(name), setting.metadata["help"], setting.metadata.get("item", str)
        if setting.default is dataclasses.MISSING:
            parser.add_argument(flag, type=_pair(item), action="append", metavar="NAME=VALUE", help=meaning)
        else:
            default = "" if setting.default is None else f" (default: {setting.default})"
            kind = item if setting.default is None else type(setting.default)
            choices = setting.metadata.get("choices")
            parser.add_argument(flag, type=kind, choices=choices, help=meaning + default)


def from_arguments(arguments: argparse.Namespace) -> ServiceConfig:
    """The configuration that the options of :func:`add_arguments` describe.

    Raises:
        ValueError: a value that the setting cannot have.
    """
    base = REALISTIC if arguments.realistic else {}
    settings: dict[str, Any] = dict(base)
    for name in _settings():
        value = getattr(arguments, name)
        if value is not None:
            settings[name] = {**base.get(name, {}), **dict(value)} if isinstance(value, list) else value
    return ServiceConfig(**settings)


def to_arguments(config: ServiceConfig) -> list[str]:
    """The command line that :func:`from_arguments` reads as `config`."""
    arguments = []
    for name in _settings():
        value = getattr(config, name)
        if isinstance(value, dict):
            arguments += [f"{_flag(name)}={key}={item}" for key, item in value.items()]
        elif value is not None:
            arguments.append(f"{_flag(name)}={value}")
    return arguments


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _pair(item: Callable[[Any], Any]) -> Callable[[str], tuple[str, Any]]:
    def parse(text: str) -> tuple[str, Any]:
        # Paths may hold the sign, as may the names of numbers, but not both sides of one setting.
        name, separator, value = text.partition("=") if item is str else text.rpartition("=")
        if not separator or not name:
            raise argparse.ArgumentTypeError(f"expected NAME=VALUE, not {text!r}")
        return name, item(value)

    # argparse names the type in its own message about a value that `item` refuses.
    parse.__name__ = "NAME=VALUE"
    return parse
