"""What users say of endpoints → what the service takes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from numbers import Real
from typing import Any

from smexec.core import checks
from smexec.core.formats import CSV, JSON
from smexec.core.serving import Scaling
from smexec.core.settings import OF_TRAINING_JOBS
from smexec.errors import SettingsError

#: Settings that no endpoint has a member for.
IDLE = OF_TRAINING_JOBS | {"max_runtime_in_seconds", "encrypt_inter_container_traffic"}

_NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}", re.ASCII)
_CAPTURE = {"uri", "percentage"}
_NEEDED, _COOLDOWNS = {"min", "max", "invocations_per_instance"}, {"scale_in_cooldown", "scale_out_cooldown"}
_WHOLE = checks.whole(0, 2**31 - 1)  # what the API calls an integer
_PERCENTAGE = checks.whole(0, 100)


def endpoint_name(name: Any) -> str | None:
    """A name of the user's.

    :raises SettingsError: no endpoint can have it
    """
    if name is None:
        return None
    if not (isinstance(name, str) and _NAME.fullmatch(name)):
        raise SettingsError(f"name={name!r}: an endpoint's is letters, digits and hyphens, at most 63")
    return name


def variant(**members: Any) -> dict[str, Any]:
    """Further members of a ProductionVariant, of which those that are None are not given."""
    return {name: value for name, value in members.items() if value is not None}


def capture(given: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """A DataCaptureConfig.

    :raises SettingsError: the service would not take it
    """
    if given is None or "DestinationS3Uri" in given:
        return None if given is None else {"EnableCapture": True, **given}
    if not {"uri"} <= given.keys() <= _CAPTURE:
        raise SettingsError(f"data_capture has uri, and may have percentage; this has {[*given]}")
    try:
        uri, percentage = checks.s3_uri(given["uri"]), _PERCENTAGE(given.get("percentage", 100))
    except ValueError as error:
        raise SettingsError(f"data_capture={given!r}: {error}") from None
    return {
        "EnableCapture": True,
        "InitialSamplingPercentage": percentage,
        "DestinationS3Uri": uri,
        "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
        # All other bodies are kept in base64.
        "CaptureContentTypeHeader": {"CsvContentTypes": [CSV], "JsonContentTypes": [JSON]},
    }


def encrypted(config: Mapping[str, Any] | None, key: str | None) -> Mapping[str, Any] | None:
    """A DataCaptureConfig that uses this KMS key, unless it has one of its own."""
    return {"KmsKeyId": key, **config} if config and key else config


def scaling(given: Mapping[str, Any] | None) -> Scaling | None:
    """How an endpoint grows and shrinks.

    :raises SettingsError: something is missing or misspelt
    """
    if given is None:
        return None
    if not _NEEDED <= given.keys() <= _NEEDED | _COOLDOWNS:
        raise SettingsError(
            f"autoscaling has {', '.join(sorted(_NEEDED))}, and may have "
            f"{' and '.join(sorted(_COOLDOWNS))}; these are {[*given]}"
        )
    numbers = {name: _number(name, value) for name, value in given.items()}
    if numbers["min"] > numbers["max"]:
        raise SettingsError(f"autoscaling={given!r}: min is at most max")
    cooldowns = {
        "".join(map(str.title, name.split("_"))): numbers[name] for name in sorted(_COOLDOWNS & given.keys())
    }
    return Scaling(numbers["min"], numbers["max"], numbers["invocations_per_instance"], cooldowns)


def _number(name: str, value: Any) -> Any:
    try:
        return _invocations(value) if name == "invocations_per_instance" else _WHOLE(value)
    except ValueError as error:
        raise SettingsError(f"autoscaling: {name}={value!r}: {error}") from None


def _invocations(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 < float(value) < float("inf"):
        raise ValueError("it must be a number above 0")
    return float(value)
