"""Every setting of the local service, once: its name, default, meaning and how it is read from a command line.

Python callers build a :class:`ServiceConfig`; command lines get their options from :func:`add_arguments`; a running
service takes the :data:`LIVE` ones through its control API.  Mappings are merged, so that a test can set one instance
type's quota without restating the others.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

UNLIMITED = -1
"""As a quota: no limit.  As a number of capacity errors: for ever."""


def _option(default: Any, meaning: str, *, live: bool = False, **extra: Any) -> Any:
    """A field of :class:`ServiceConfig`: `live` means that a running service takes a new value."""
    metadata = {"help": meaning, "live": live, **extra}
    if isinstance(default, dict):
        return field(default_factory=lambda: dict(default), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass
class ServiceConfig:
    """What the service is and how it behaves; seconds and instances throughout.

    Defaults are those a test wants: no limits, no delays.  :meth:`realistic` gives those of a real account.
    """

    host: str = _option("127.0.0.1", "address to listen on")
    port: int = _option(0, "port to listen on; 0 takes a free one")
    region: str = _option("us-east-1", "the AWS region the service plays")
    account: str = _option("123456789012", "the AWS account the service plays")
    engine: str = _option("process", "what runs a job's command", choices=("process", "podman", "docker"))
    rates: dict[str, float] = _option(
        {}, "requests per second of an API, over all clients; requests above it are throttled", live=True, item=float
    )
    quotas: dict[str, int] = _option(
        {}, "on-demand instances of a type; '*' for the types not named, 'total' for all together", live=True, item=int
    )
    spot_quotas: dict[str, int] = _option({}, "spot instances of a type; '*' for the others", live=True, item=int)
    warm_pool_quotas: dict[str, int] = _option(
        {}, "instances of a type kept in warm pools; '*' for the others", live=True, item=int
    )
    max_runtime_quota: int = _option(432_000, "longest MaxRuntimeInSeconds that the account may ask for", live=True)
    release_delay: float = _option(0.0, "how long a stopped job's instances still count for the quota", live=True)
    delays: dict[str, float] = _option(
        {}, "least time in a phase: Starting, Downloading, Training, Uploading or Stopping", live=True, item=float
    )
    cold_start: float = _option(0.0, "time to launch new instances", live=True)
    warm_start: float = _option(0.0, "time to take instances over from a warm pool", live=True)
    capacity_errors: dict[str, int] = _option(
        {}, "how many of the next jobs on an instance type find no capacity; -1: all", live=True, item=int
    )
    stop_grace: float = _option(120.0, "time between SIGTERM and SIGKILL", live=True)
    lease_grace: float | None = _option(
        None, "end the service this long after its last lease is given back; unset: run until told to end", item=float
    )

    def __post_init__(self) -> None:
        for option in dataclasses.fields(self):
            choices = option.metadata.get("choices")
            value = getattr(self, option.name)
            if choices and value not in choices:
                raise ValueError(f"{option.name} must be one of {', '.join(choices)}, not {value!r}")

    def configure(self, changes: Mapping[str, Any]) -> None:
        """Apply `changes` to the live settings; all or none.

        Mappings are merged, and an item set to None goes back to the default.

        Raises:
            ValueError: an unknown setting, one that a running service cannot change, or a value of the wrong type.
        """
        merged = {name: self._merged(name, value) for name, value in changes.items()}
        for name, value in merged.items():
            setattr(self, name, value)

    def _merged(self, name: str, value: Any) -> Any:
        option = next((option for option in dataclasses.fields(self) if option.name == name), None)
        if option is None or not option.metadata["live"]:
            known = ", ".join(option.name for option in dataclasses.fields(self) if option.metadata["live"])
            raise ValueError(f"{name!r} cannot be set on a running service; these can: {known}")
        current = getattr(self, name)
        if not isinstance(current, dict):
            return _number(name, value, type(current))
        if not isinstance(value, Mapping):
            raise ValueError(f"{name} must be a mapping, not {value!r}")
        items = {**current, **value}
        return {key: _number(name, item, option.metadata["item"]) for key, item in items.items() if item is not None}

    @classmethod
    def realistic(cls, **settings: Any) -> ServiceConfig:
        """The rates, quotas and times that users of new accounts report (facts on rates, quotas, times).

        Cold and warm starts take their real 85 and 20 seconds: a rehearsal, not a test's setting.
        """
        return cls(**{**REALISTIC, **settings})


REALISTIC: dict[str, Any] = {
    # The rate of ListTrainingJobs is reported by users; those of Create and Describe are estimates.
    "rates": {"CreateTrainingJob": 1.0, "DescribeTrainingJob": 2.0, "ListTrainingJobs": 2.0, "StopTrainingJob": 1.0},
    "quotas": {
        "*": 0,
        **{f"ml.{family}.{size}": 30 for family in ("m5", "c5") for size in ("large", "xlarge", "2xlarge", "4xlarge")},
        **{"ml.c5.9xlarge": 8, "ml.c5.18xlarge": 8, "ml.m5.12xlarge": 8, "ml.m5.24xlarge": 3},
        **{f"ml.{family}.{size}": 1 for family in ("g4dn", "g5") for size in ("xlarge", "2xlarge", "4xlarge")},
    },
    "spot_quotas": {"*": 0, "ml.m5.large": 4, "ml.m5.xlarge": 4, "ml.c5.xlarge": 4},
    "warm_pool_quotas": {"*": 0},
    "release_delay": 30.0,
    "cold_start": 85.0,
    "warm_start": 20.0,
}


def _number(name: str, value: Any, kind: Callable[[Any], Any]) -> Any:
    """`value` as `kind` (int or float), refusing what is no number; NaN would compare as no limit at all."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or math.isnan(value):
        raise ValueError(f"{name} takes numbers, not {value!r}")
    if kind is int and value != int(value):
        raise ValueError(f"{name} takes whole numbers, not {value!r}")
    return kind(value)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give `parser` one option for each setting, and `--realistic`; mappings take NAME=VALUE, any number of times."""
    parser.add_argument("--realistic", action="store_true", help="rates, quotas and start times of a real new account")
    for option in dataclasses.fields(ServiceConfig):
        flag = "--" + option.name.replace("_", "-")
        default = getattr(_DEFAULTS, option.name)
        item = option.metadata.get("item")
        if isinstance(default, dict):
            parser.add_argument(
                flag, type=_pair(item), action="append", metavar="NAME=VALUE", help=option.metadata["help"]
            )
        else:
            kind = item or type(default)
            shown = "" if default is None else f" (default: {default})"
            choices = option.metadata.get("choices")
            parser.add_argument(flag, type=kind, choices=choices, help=option.metadata["help"] + shown)


def from_arguments(arguments: argparse.Namespace) -> ServiceConfig:
    """The configuration that the options of :func:`add_arguments` describe."""
    names = [option.name for option in dataclasses.fields(ServiceConfig)]
    given = {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}
    base = REALISTIC if arguments.realistic else {}
    settings: dict[str, Any] = dict(base)
    for name, value in given.items():
        settings[name] = {**base.get(name, {}), **dict(value)} if isinstance(value, list) else value
    return ServiceConfig(**settings)


def _pair(item: Callable[[Any], Any]) -> Callable[[str], tuple[str, Any]]:
    def parse(text: str) -> tuple[str, Any]:
        name, separator, value = text.rpartition("=")
        if not separator or not name:
            raise argparse.ArgumentTypeError(f"expected NAME=VALUE, not {text!r}")
        return name, item(value)

    # argparse names the type in its own message about a value that `item` refuses.
    parse.__name__ = "NAME=VALUE"
    return parse


_DEFAULTS = ServiceConfig()
