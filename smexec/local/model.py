"""The service models that botocore ships, SageMaker's above all: parsing of JSON 1.1 requests and validation
with the real error texts.

botocore's own client checks required members, types and minima only; maxima, patterns and enums are the
service's work, so they are checked here.  The texts follow the form that AWS prints: members in camel case,
list members as ``inputDataConfig.1.member.channelName``, several errors joined by "; ".
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import botocore.session
from botocore.model import OperationModel, ServiceModel, Shape
from botocore.utils import parse_timestamp

LIMITS: Mapping[str, Mapping[str, int]] = {
    # Beyond the model: the quotas page gives 28 days; newer models than some botocores allow six hours of
    # keep-alive.
    "MaxRuntimeInSeconds": {"max": 2_419_200},
    "KeepAlivePeriodInSeconds": {"max": 21_600},
}
"""Constraints by shape name that the service has and (some versions of) the model have not."""


class ServiceError(Exception):
    """An error answer of a service: `code` is its type on the wire, `status` its HTTP status, `members` what
    the error's shape has beside the message.
    """

    def __init__(
        self, code: str, message: str, status: int = 400, members: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status
        self.members = dict(members or {})


def invalid(message: str) -> ServiceError:
    """A ValidationException."""
    return ServiceError("ValidationException", message)


@cache
def service_model(service: str = "sagemaker") -> ServiceModel:
    """Botocore's model of a service (about 70 ms the first time)."""
    return botocore.session.get_session().get_service_model(service)


def operation_model(name: str, service: str = "sagemaker") -> OperationModel:
    """The model of a service's operation.

    Raises:
        ServiceError: UnknownOperationException, as the service answers.
    """
    if name not in service_model(service).operation_names:
        raise ServiceError(
            "UnknownOperationException", f"The requested operation {name} is not recognized", 404
        )
    return service_model(service).operation_model(name)


def parse_request(operation: str, body: bytes, service: str = "sagemaker") -> dict[str, Any]:
    """The members of a request, validated; timestamps as epoch seconds, unknown members left out, as the
    service does.

    Raises:
        ServiceError: SerializationException for what is no JSON object or has wrong types,
            ValidationException for values outside the model's constraints, all of them in one message.
    """
    shape = operation_model(operation, service).input_shape
    try:
        document = json.loads(body or b"{}")
    except ValueError:
        raise ServiceError("SerializationException", "Could not parse the request body as JSON") from None
    members: dict[str, Any] = _typed(shape, document) if shape else {}
    errors = list(violations(shape, members)) if shape else []
    if errors:
        noun = "error" if len(errors) == 1 else "errors"
        raise invalid(f"{len(errors)} validation {noun} detected: " + "; ".join(errors))
    return members


_JSON_TYPES: Mapping[str, tuple[type, ...]] = {
    "structure": (dict,),
    "map": (dict,),
    "list": (list,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "long": (int,),
    "float": (int, float),
    "double": (int, float),
    "timestamp": (int, float, str),
}
_TYPE_NAMES = {
    dict: "START_OBJECT", list: "START_ARRAY", str: "STRING_VALUE", bool: "TRUE_VALUE", int: "NUMBER_VALUE",
    float: "DECIMAL_VALUE", type(None): "NULL_VALUE",
}  # fmt: skip


def _typed(shape: Any, value: Any) -> Any:
    """`value` with the types that `shape` asks for; members that are null or unknown are dropped."""
    fits = isinstance(value, _JSON_TYPES[shape.type_name])
    if not fits or (isinstance(value, bool) and shape.type_name != "boolean"):
        wanted = shape.type_name.capitalize()
        raise ServiceError(
            "SerializationException", f"{_TYPE_NAMES[type(value)]} can not be converted to a {wanted}"
        )
    if shape.type_name == "structure":
        return {
            k: _typed(member, value[k]) for k, member in shape.members.items() if value.get(k) is not None
        }
    if shape.type_name == "map":
        return {k: _typed(shape.value, item) for k, item in value.items() if item is not None}
    if shape.type_name == "list":
        return [_typed(shape.member, item) for item in value]
    if shape.type_name == "timestamp":
        return _epoch(value)
    return value


def _epoch(value: float | str) -> float:
    try:
        return parse_timestamp(value).timestamp() if isinstance(value, str) else float(value)
    except ValueError:
        message = "STRING_VALUE can not be converted to milliseconds since epoch"
        raise ServiceError("SerializationException", message) from None


def violations(shape: Any, value: Any, path: str = "") -> Iterator[str]:
    """Everything that is wrong with a (correctly typed) value, in the service's words."""
    for constraint in _broken(shape, value):
        yield f"Value '{_shown(value)}' at '{path}' failed to satisfy constraint: {constraint}"
    if shape.type_name == "structure":
        yield from _structure_violations(shape, value, path)
    elif shape.type_name == "list":
        yield from _list_violations(shape, value, path)
    elif shape.type_name == "map":
        yield from _map_violations(shape, value, path)


def _structure_violations(shape: Any, value: Mapping[str, Any], path: str) -> Iterator[str]:
    for name, member in shape.members.items():
        inner = f"{path}.{_camel(name)}" if path else _camel(name)
        if name in value:
            yield from violations(member, value[name], inner)
        elif name in shape.required_members:
            yield f"Value null at '{inner}' failed to satisfy constraint: Member must not be null"


def _list_violations(shape: Any, value: list[Any], path: str) -> Iterator[str]:
    if shape.member.type_name in {"structure", "list", "map"}:
        for number, item in enumerate(value, 1):
            yield from violations(shape.member, item, f"{path}.{number}.member")
    elif any(next(_broken(shape.member, item), None) for item in value):
        rules = ", ".join(_constraints(shape.member))
        yield (
            f"Value '{_shown(value)}' at '{path}' failed to satisfy constraint: "
            f"Member must satisfy constraint: [{rules}]"
        )


def _map_violations(shape: Any, value: Mapping[str, Any], path: str) -> Iterator[str]:
    for kind, inner, items in (("keys", shape.key, value.keys()), ("value", shape.value, value.values())):
        if any(next(_broken(inner, item), None) for item in items):
            rules = ", ".join(_constraints(inner))
            yield (
                f"Value '{_shown(value)}' at '{path}' failed to satisfy constraint: "
                f"Map {kind} must satisfy constraint: [{rules}]"
            )


def _constraints(shape: Shape) -> list[str]:
    """Every constraint of a simple shape, as a sentence: AWS lists all of them for the members of lists and
    maps.
    """
    limits = _limits(shape)
    sentences = [_bound_sentence(shape, bound, limits[bound]) for bound in ("max", "min") if bound in limits]
    if "pattern" in limits:
        sentences.append(_pattern_sentence(limits["pattern"]))
    return sentences + _enum_sentences(shape)


def _broken(shape: Shape, value: Any) -> Iterator[str]:
    """The constraints of the shape itself (not of its members) that `value` breaks."""
    limits = _limits(shape)
    size = value if shape.type_name in {"integer", "long", "float", "double"} else None
    if shape.type_name in {"string", "list", "map"}:
        size = len(value)
    if size is not None and "max" in limits and size > limits["max"]:
        yield _bound_sentence(shape, "max", limits["max"])
    if size is not None and "min" in limits and size < limits["min"]:
        yield _bound_sentence(shape, "min", limits["min"])
    if shape.type_name == "string":
        if "pattern" in limits and not _pattern(limits["pattern"]).fullmatch(value):
            yield _pattern_sentence(limits["pattern"])
        if value not in (getattr(shape, "enum", None) or [value]):
            yield from _enum_sentences(shape)


def _limits(shape: Shape) -> dict[str, Any]:
    return {**shape.metadata, **LIMITS.get(shape.name, {})}


def _bound_sentence(shape: Shape, bound: str, limit: int) -> str:
    measure = "length" if shape.type_name in {"string", "list", "map"} else "value"
    relation = "less than or equal to" if bound == "max" else "greater than or equal to"
    return f"Member must have {measure} {relation} {limit}"


def _pattern_sentence(pattern: str) -> str:
    return f"Member must satisfy regular expression pattern: {pattern}"


def _enum_sentences(shape: Shape) -> list[str]:
    values = getattr(shape, "enum", None)
    return [f"Member must satisfy enum value set: [{', '.join(values)}]"] if values else []


# Java's classes in Python's words.  The model uses them inside [...] only, \p{L} and \p{N} always together
# with _.
_JAVA_CLASSES: Mapping[str, str] = {
    r"\p{Alnum}": "a-zA-Z0-9",
    r"\p{L}": r"\w",
    r"\p{N}": r"\d",
    r"\p{Z}": r"\u0020\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000",
}


@cache
def _pattern(pattern: str) -> re.Pattern[str]:
    for java, python in _JAVA_CLASSES.items():
        pattern = pattern.replace(java, python)
    return re.compile(pattern)


def _camel(member: str) -> str:
    return member[:1].lower() + member[1:]


def _shown(value: Any) -> str:
    """A value as Java prints it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k}={_shown(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_shown(item) for item in value) + "]"
    return str(value)
