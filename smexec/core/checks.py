"""What a setting's value may be. A check returns the value in its one form, or raises ValueError: why, and
what is allowed. The limits are botocore's model of CreateTrainingJob.
"""

from __future__ import annotations

import contextlib
import operator
import os
import re
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any

Check = Callable[[Any], Any]

LOCAL = "local"
LONGEST = 2419200  # seconds that a job may run: CreateTrainingJob, MaxRuntimeInSeconds
_LINE = r"[^\r\n\x85\u2028\u2029]"  # what "." is to the service, which reads patterns as Java does
_VARIABLE = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_S3_URI = re.compile(rf"s3://[a-z0-9][a-z0-9.\-]{{1,61}}[a-z0-9](/{_LINE}*)?")
_ROLE_ARN = re.compile(r"arn:aws[a-z\-]*:iam::[0-9]{12}:role/[a-zA-Z0-9_+=,.@/\-]{1,512}")
_ROLE_NAME = re.compile(r"[a-zA-Z0-9_+=,.@\-]{1,64}")
_PREFIX = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9])*-?")
_ROOT_LIMIT = 900  # bytes, of a key's 1,024: the rest is for what we put below it


def text(limit: int, pattern: str = _LINE, such_as: str = "no line breaks") -> Check:
    """A text of 1 to ``limit`` characters, each of which matches; ``such_as`` says it to people."""
    characters = re.compile(f"(?:{pattern})*")

    def check(value: Any) -> str:
        if not isinstance(value, str) or not 1 <= len(value) <= limit or not characters.fullmatch(value):
            raise ValueError(f"it must be a text of 1 to {limit} characters: {such_as}")
        return value

    return check


def image(value: Any) -> str:
    """A URI; or a directory that stands for an image, as a text or a path."""
    return str(text(255)(os.fspath(value) if isinstance(value, os.PathLike) else value))


kms_key = text(2048, r"[a-zA-Z0-9:/_\-]", "a key's id or ARN, or alias/name")


def ids(most: int, such_as: str) -> Check:
    """At most ``most`` of the ids that EC2 gives its things."""
    one = text(32, r"[a-zA-Z0-9\-]", such_as)

    def check(value: Any) -> tuple[str, ...]:
        if isinstance(value, str | Mapping) or not hasattr(value, "__iter__"):
            raise ValueError(f"it must be a list: [{such_as}]")
        items = tuple(one(item) for item in value)
        if len(items) > most:
            raise ValueError(f"at most {most} are allowed, and these are {len(items)}")
        return items

    return check


def whole(least: int, most: int) -> Check:
    """A whole number from ``least`` to ``most``."""

    def check(value: Any) -> int:
        number = (
            operator.index(value) if hasattr(value, "__index__") and not isinstance(value, bool) else None
        )
        if number is None or not least <= number <= most:
            raise ValueError(f"it must be a whole number from {least} to {most}")
        return number

    return check


def seconds(value: Any) -> float:
    """A time above 0 that a job can last."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= LONGEST:
        raise ValueError(f"it must be a number of seconds above 0, at most {LONGEST} (28 days)")
    return float(value)


def flag(value: Any) -> bool:
    """True or False, nothing that merely counts as one."""
    if not isinstance(value, bool):
        raise ValueError("it must be True or False")
    return value


def instance_types(value: Any) -> tuple[str, ...]:
    """One, or several in the order in which they are tried."""
    several = isinstance(value, list | tuple)
    types = tuple(map(_instance_type, value if several else [value]))
    if not types:
        raise ValueError("it must have one type at least")
    if len(set(types)) < len(types):
        raise ValueError("it has the same type twice")
    if LOCAL in types and len(types) > 1:
        raise ValueError(f'"{LOCAL}" stands alone: there is nothing to be tried after it')
    return types


def _instance_type(value: Any) -> str:
    """``local``, or anything of the form ``ml.family.size``: AWS adds types faster than we list them."""
    if isinstance(value, str) and (value == LOCAL or re.fullmatch(r"ml\.[a-z0-9\-]+\.[a-z0-9]+", value)):
        return value
    hint = f' (did you mean "ml.{value}"?)' if isinstance(value, str) and value.count(".") == 1 else ""
    raise ValueError(f'it must be like "ml.m5.large", or "local", or a list of types{hint}')


def role(value: Any) -> str:
    """A role's ARN, or its name."""
    if isinstance(value, str) and (_ROLE_ARN.fullmatch(value) or _ROLE_NAME.fullmatch(value)):
        return value
    raise ValueError("it must be a role's ARN (arn:aws:iam::123456789012:role/name) or its name")


def s3_uri(value: Any) -> str:
    """``s3://bucket/prefix``; a slash at its end goes."""
    if not isinstance(value, str) or not _S3_URI.fullmatch(value):
        raise ValueError("it must be like s3://bucket or s3://bucket/prefix")
    if len(value.encode()) > _ROOT_LIMIT:
        raise ValueError(f"it must have at most {_ROOT_LIMIT} bytes")
    return value.rstrip("/")


def job_name_prefix(value: Any) -> str:
    """What a job's name may begin with; what exceeds the room before run and number is cut off."""
    if isinstance(value, str) and len(value) <= 48 and _PREFIX.fullmatch(value):
        return value
    raise ValueError("it must be letters, digits and hyphens, at most 48, beginning with a letter or digit")


def environment_variables(value: Any) -> tuple[tuple[str, str], ...]:
    """At most 100 of name ≤ 512 and value ≤ 512 characters; numbers are taken as their text."""
    if not isinstance(value, Mapping):
        raise ValueError('it must be a mapping: {"NAME": "value"}')
    if len(value) > 100:
        raise ValueError(f"at most 100 are allowed, and these are {len(value)}")
    for name, content in value.items():
        if not isinstance(name, str) or not _VARIABLE.fullmatch(name) or len(name) > 512:
            raise ValueError(f"{name!r} is no variable's name: letters, digits and _, no digit first")
        if isinstance(content, bool) or not isinstance(content, str | int | float):
            raise ValueError(f"{name} must be a text, not {type(content).__name__}")
        if len(str(content)) > 512:
            raise ValueError(f"{name} has {len(str(content))} characters; 512 are allowed")
    return tuple((name, str(content)) for name, content in value.items())


def tags(value: Any) -> tuple[tuple[str, str], ...]:
    """At most 50 pairs of ≤ 128 and ≤ 256 characters, from a mapping, pairs, or the API's own form."""
    if not hasattr(value, "__iter__"):
        raise ValueError('it must be a mapping: {"key": "value"}')
    pairs = tuple(_pair(item) for item in (value.items() if isinstance(value, Mapping) else value))
    if len(pairs) > 50:
        raise ValueError(f"at most 50 are allowed, and these are {len(pairs)}")
    for key, content in pairs:
        if not 1 <= len(key) <= 128 or len(content) > 256:
            raise ValueError(f"{key!r}: a key has 1 to 128 characters, a value at most 256")
        if not all(map(_may_be_in_tag, key + content)):
            raise ValueError(f"{key!r}: only letters, digits, spaces and _.:/=+-@ are allowed in tags")
    if len(dict(pairs)) < len(pairs):
        raise ValueError("two of them have the same key")
    return pairs


def _may_be_in_tag(character: str) -> bool:
    return character in "_.:/=+-@" or unicodedata.category(character)[0] in "LZN"


def _pair(item: Any) -> tuple[str, str]:
    if isinstance(item, Mapping) and {"Key", "Value"} == set(item):
        item = (item["Key"], item["Value"])
    if isinstance(item, tuple | list) and len(item) == 2 and all(isinstance(part, str) for part in item):
        return item[0], item[1]
    raise ValueError(f'{item!r} is no tag: give {{"key": "value"}} or ("key", "value"), both texts')


def session(value: Any) -> Any:
    """A boto3 or aioboto3 session, or something that has a ``boto_session`` as the SageMaker SDK's does."""
    found = getattr(value, "boto_session", value)
    if hasattr(found, "client") and hasattr(found, "region_name"):
        return found
    raise ValueError("it must be a boto3, aioboto3 or sagemaker Session")


#: The kinds of settings that a text can give.
FROM_TEXT = frozenset({"str", "str | None", "int", "int | None", "float | None", "bool", "tuple[str, ...]"})


def from_text(value: str, kind: str) -> Any:
    """An environment variable's text as the kind that its setting has."""
    if kind.startswith("tuple"):
        return [item.strip() for item in value.split(",")]
    if kind == "bool":
        known = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
        return known.get(value.lower(), value)
    number = {"int": int, "float": float}.get(kind.partition(" ")[0])
    if number:
        with contextlib.suppress(ValueError):  # what is no number is for the check to refuse
            return number(value)
    return value
