"""Which AWS operation an HTTP request asks for, and how that service's protocol spells an error.

Four spellings cover the services behind the endpoint: JSON (SageMaker, Logs, ECR, SQS), query (STS, IAM),
S3's XML, and REST with JSON for anything else.  S3's operations are recognised from botocore's model of them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from http import HTTPStatus
from typing import Any, Literal
from urllib.parse import parse_qs, parse_qsl, urlsplit
from xml.sax.saxutils import escape

from smexec.local.model import ServiceError, service_model

_XML = '<?xml version="1.0" encoding="UTF-8"?>\n'
_SCOPE_PARTS = 5

Protocol = Literal["json", "query", "s3", "rest"]

_INVOCATION = re.compile(r"/endpoints/([^/]+)/invocations")

FORM = "application/x-www-form-urlencoded"

_TARGETS: Mapping[str, str] = {
    "SageMaker": "sagemaker",
    "CodeBuild_20161006": "codebuild",
    "Logs_20140328": "logs",
    "AmazonSQS": "sqs",
    "AnyScaleFrontendService": "application-autoscaling",
    "AmazonEC2ContainerRegistry_V20150921": "ecr",
    "TrentService": "kms",
    "AWSEvents": "events",
    "ServiceQuotasV20190624": "servicequotas",
    "secretsmanager": "secretsmanager",
}
"""X-Amz-Target prefix to the name that boto3 has for the service."""


@dataclass(frozen=True)
class Operation:
    """One operation of one service, as ``s3.PutObject``."""

    service: str
    name: str
    protocol: Protocol

    def __str__(self) -> str:
        return f"{self.service}.{self.name}"


def identify(method: str, target: str, headers: Mapping[str, str], form: bytes = b"") -> Operation:
    """The operation that a request asks for.

    Args:
        method: HTTP method.
        target: path and query as sent.
        headers: with case-insensitive look-up.
        form: the body, when its content type is :data:`FORM` (the query protocol names the operation there).
    """
    amz_target = headers.get("X-Amz-Target", "")
    if amz_target:
        prefix, _, name = amz_target.rpartition(".")
        return Operation(_TARGETS.get(prefix, prefix.lower() or "unknown"), name, "json")
    url = urlsplit(target)
    query = dict(parse_qsl(url.query, keep_blank_values=True))
    service = _signing_service(headers.get("Authorization", ""), query)
    if method == "POST" and service == "sagemaker" and invoked_endpoint(url.path):
        return Operation("sagemaker-runtime", "InvokeEndpoint", "rest")
    action = query.get("Action") or _form_action(form)
    if action:
        return Operation(service or "unknown", action, "query")
    if service in {None, "s3"}:
        return Operation("s3", _s3_operation(method, url.path, query, headers), "s3")
    return Operation(service or "unknown", f"{method} {url.path}", "rest")


def invoked_endpoint(path: str) -> str | None:
    """The name of the endpoint that an InvokeEndpoint request is for; None if it is for something else."""
    match = _INVOCATION.fullmatch(path)
    return match and match[1]


def _form_action(form: bytes) -> str | None:
    return parse_qs(form.decode("utf-8", "replace")).get("Action", [None])[0] if form else None


def _signing_service(authorization: str, query: Mapping[str, str]) -> str | None:
    """The service named in the credential scope: ``Credential=AKID/20240102/us-east-1/s3/aws4_request``."""
    credential = query.get("X-Amz-Credential", "")
    if "Credential=" in authorization:
        credential = authorization.partition("Credential=")[2].partition(",")[0]
    scope = credential.strip().split("/")
    return scope[-2] if len(scope) >= _SCOPE_PARTS else None


@dataclass(frozen=True)
class _Route:
    """What a request must have to be this S3 operation."""

    name: str
    method: str
    level: int
    query: frozenset[tuple[str, str | None]] = field(default_factory=frozenset)
    headers: frozenset[str] = field(default_factory=frozenset)

    def matches(self, query: Mapping[str, str], headers: Mapping[str, str]) -> bool:
        asked = all(key in query and value in (None, query[key]) for key, value in self.query)
        return asked and all(header in headers for header in self.headers)

    @property
    def demands(self) -> int:
        return len(self.query) + len(self.headers)


# Both share their route with an older operation and are never what a client of this service means.
_SHADOWED = {"ListDirectoryBuckets", "GetObjectTorrent"}


@cache
def _s3_routes() -> Mapping[tuple[str, int], tuple[_Route, ...]]:
    """S3's operations by method and level (0 service, 1 bucket, 2 object), the most demanding first."""
    model = service_model("s3")
    routes: dict[tuple[str, int], list[_Route]] = {}
    for name in model.operation_names:
        if name in _SHADOWED:
            continue
        operation = model.operation_model(name)
        path, _, static = operation.http["requestUri"].partition("?")
        query: set[tuple[str, str | None]] = {
            (k, v or None) for k, v in parse_qsl(static, keep_blank_values=True)
        }
        headers = set()
        for member in _required_members(operation.input_shape):
            if member.get("location") == "querystring":
                query.add((member["name"], None))
            elif member.get("location") == "header":
                headers.add(member["name"])
        level = 2 if "{Key" in path else 1 if "{Bucket}" in path else 0
        route = _Route(name, operation.http["method"], level, frozenset(query), frozenset(headers))
        routes.setdefault((route.method, level), []).append(route)
    return {key: tuple(sorted(found, key=lambda route: -route.demands)) for key, found in routes.items()}


def _required_members(shape: Any) -> Iterable[Mapping[str, str]]:
    return [shape.members[name].serialization for name in shape.required_members] if shape else []


def _s3_operation(method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str]) -> str:
    bucket, _, key = path.lstrip("/").partition("/")
    level = 2 if key else 1 if bucket else 0
    for route in _s3_routes().get((method, level), ()):
        if route.matches(query, headers):
            return route.name
    return f"{method} {path}"


_NAMED: Mapping[str, Mapping[Protocol, tuple[str, str, int]]] = {
    "throttle": {
        "json": ("ThrottlingException", "Rate exceeded", 400),
        "query": ("Throttling", "Rate exceeded", 400),
        "s3": ("SlowDown", "Please reduce your request rate.", 503),
    },
    "expired": {
        "json": ("ExpiredTokenException", "The security token included in the request is expired", 400),
        "query": ("ExpiredToken", "The security token included in the request is expired", 403),
        "s3": ("ExpiredToken", "The provided token has expired.", 400),
    },
    "denied": {
        "json": ("AccessDeniedException", "User: {user} is not authorized to perform: {action}", 400),
        "query": ("AccessDenied", "User: {user} is not authorized to perform: {action}", 403),
        "s3": ("AccessDenied", "Access Denied", 403),
    },
    "internal": {
        "json": ("InternalFailure", "We encountered an internal error. Please try again.", 500),
        "query": ("InternalFailure", "We encountered an internal error. Please try again.", 500),
        "s3": ("InternalError", "We encountered an internal error. Please try again.", 500),
    },
}

NAMED_ERRORS = frozenset(_NAMED)
"""The errors that :func:`named_error` knows."""


def named_error(kind: str, operation: Operation, account: str) -> ServiceError:
    """A common error in the words of the operation's protocol: one of :data:`NAMED_ERRORS`."""
    protocol: Protocol = "json" if operation.protocol == "rest" else operation.protocol
    code, message, status = _NAMED[kind][protocol]
    user = f"arn:aws:iam::{account}:user/local"
    return ServiceError(
        code, message.format(user=user, action=f"{operation.service}:{operation.name}"), status
    )


def render_error(error: ServiceError, operation: Operation, request_id: str) -> tuple[bytes, str]:
    """Body and content type of an error answer."""
    if operation.protocol in {"json", "rest"}:
        # Shapes of the model carry "Message", the common errors "message"; clients take either.
        said = {"message": error.message, "Message": error.message, **error.members}
        return json.dumps({"__type": error.code, **said}).encode(), "application/x-amz-json-1.1"
    inner = f"<Code>{escape(error.code)}</Code><Message>{escape(error.message)}</Message>"
    request = f"<RequestId>{request_id}</RequestId>"
    if operation.protocol == "s3":
        return f"{_XML}<Error>{inner}{request}</Error>".encode(), "application/xml"
    kind = "Sender" if error.status < HTTPStatus.INTERNAL_SERVER_ERROR else "Receiver"
    text = f"{_XML}<ErrorResponse><Error><Type>{kind}</Type>{inner}</Error>{request}</ErrorResponse>"
    return text.encode(), "text/xml"
