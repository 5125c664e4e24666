"""boto's exceptions → ours, once and in one place."""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import re
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from smexec import errors

_THROTTLED = frozenset(
    {
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "RequestThrottled",
        "RequestThrottledException",
        "TooManyRequestsException",
        "RequestLimitExceeded",
        "SlowDown",
    }
)
_CREDENTIALS = frozenset(
    {
        "AuthFailure",
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "InvalidToken",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "RequestExpired",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
# "Try again", S3 says; and so does what scales, while it does.
_CONFLICTS = frozenset({"ConditionalRequestConflict", "OperationAborted", "ConcurrentUpdateException"})
_ABSENT = frozenset(
    {"NoSuchKey", "NoSuchEntity", "ResourceNotFoundException", "ObjectNotFoundException", "404"}
)
_DENIED = frozenset({"AccessDenied", "AccessDeniedException", "Forbidden", "403", "UnauthorizedOperation"})
_ENUM = re.compile(r"Value '([^']*)'(.*?)Member must satisfy enum value set: \[([^\]]*)\]")
_MOST_SHOWN = 12  # values that a list in an error may have before only near ones are shown
_LIMIT = re.compile(r"is (\d+) (Instances|Seconds).*request delta of (\d+) \2")


class Throttled(errors.ServiceUnavailable):
    """Refused for its rate: to be asked again, more slowly."""


class Unreachable(errors.ServiceUnavailable):
    """No answer, a failure on the service's side, or a conflict there. It may have been carried out."""


class NameTaken(errors.InvalidRequest):
    """Something of this name exists: ours, if we have asked before and got no answer."""


class LimitReached(errors.ServiceError):
    """ResourceLimitExceeded: the account's instances of this type are all in use.

    :ivar hopeless: the limit is below what one job needs, so waiting cannot help
    """

    hopeless = False


class NotFound(errors.ServiceError):
    """No such object, job, model or endpoint."""


class Busy(errors.InvalidRequest):
    """An endpoint that is being created, changed or deleted can be asked for nothing else meanwhile."""


@contextlib.contextmanager
def border(operation: str) -> Iterator[None]:
    """Let boto's exceptions out as ours, with the original as their cause.

    :raises errors.ServiceError: or one of its kinds
    """
    import aiohttp
    from botocore import exceptions as boto

    try:
        yield
    except boto.ClientError as error:
        raise _of_answer(operation, error.response) from error
    except (
        boto.NoCredentialsError,
        boto.PartialCredentialsError,
        boto.CredentialRetrievalError,
        boto.SSOError,
        boto.TokenRetrievalError,
        boto.ProfileNotFound,
    ) as error:
        raise _credentials(operation, error) from error
    except RuntimeError as error:
        if "credentials" not in str(error):
            raise
        # What botocore raises where new credentials are as expired as the old ones.
        raise _credentials(operation, error) from error
    except boto.NoRegionError as error:
        raise errors.SettingsError("no region: set AWS_REGION, or give a session that has one") from error
    except boto.SSLError as error:  # no second try mends a certificate
        raise _made(errors.ServiceUnavailable, operation, None, f"{operation}: {error}") from error
    except (
        boto.ConnectionError,
        boto.HTTPClientError,
        aiohttp.ClientError,
        ConnectionError,
        TimeoutError,
        asyncio.TimeoutError,  # another one before Python 3.11
    ) as error:
        raise _made(Unreachable, operation, None, f"{operation}: {type(error).__name__}: {error}") from error
    except boto.BotoCoreError as error:
        raise _made(errors.InvalidRequest, operation, None, f"{operation}: {error}") from error


def _of_answer(operation: str, answer: Any) -> errors.ServiceError:
    code = str(answer.get("Error", {}).get("Code", ""))
    status = int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    message = _ENUM.sub(_shortened, answer.get("Error", {}).get("Message") or "")
    if message.lstrip().startswith("<"):  # a page of a proxy's or a server's, not AWS's own words
        message = f"an answer of HTTP status {status}"
    kind = _kind(code, message, status)
    error = _made(kind, operation, code, _advised(f"{operation}: {message or code}", _ADVICE.get(kind)))
    if isinstance(error, errors.ModelError):
        error.status = answer.get("OriginalStatusCode")
        said = answer.get("OriginalMessage")
        error.args = (f"the model's container answered {error.status}: {said}" if said else message,)
    if isinstance(error, LimitReached):
        found = _LIMIT.search(message)
        error.hopeless = bool(found) and int(found[1]) < int(found[3])  # type: ignore[index]
    return error


def _shortened(found: re.Match[str]) -> str:
    """An enumeration that nobody would read (there are 150 instance types), cut down to what is near."""
    value, between, listed = found.groups()
    known = listed.split(", ")
    if len(known) <= _MOST_SHOWN:
        return found[0]
    near = difflib.get_close_matches(value, known, n=5)
    shown = f"near ones are {', '.join(near)}" if near else f"among them {', '.join(known[:5])}"
    return f"Value '{value}'{between}Member must satisfy enum value set ({len(known)} values; {shown})"


def _kind(code: str, message: str, status: int) -> type[errors.ServiceError]:
    if code in _THROTTLED or status == HTTPStatus.TOO_MANY_REQUESTS:
        return Throttled
    if code in _CREDENTIALS:
        return errors.CredentialsError
    for said, kind in _BY_MESSAGE.items():
        if said.search(message):
            return kind
    if code in _DENIED:
        return errors.AccessDenied
    if code in _ABSENT:
        return NotFound
    if code in _BY_CODE:
        return _BY_CODE[code]
    failing = status >= HTTPStatus.INTERNAL_SERVER_ERROR and status != HTTPStatus.NOT_IMPLEMENTED
    return Unreachable if failing or code in _CONFLICTS else errors.InvalidRequest


# What is a ValidationException, or has a code that says less than its text.
_BY_MESSAGE: dict[re.Pattern[str], type[errors.ServiceError]] = {
    re.compile("Could not assume role"): errors.RoleError,
    re.compile("Requested resource not found|No scalable target found"): NotFound,
    re.compile(r"Could not find (requested job|model|endpoint( configuration)?)\b(?! data)"): NotFound,
    re.compile("Cannot create already existing"): NameTaken,
    re.compile("Cannot update in-progress endpoint"): Busy,
}
_BY_CODE: dict[str, type[errors.ServiceError]] = {
    "ModelError": errors.ModelError,
    "NoSuchBucket": errors.BucketNotFound,
    "ResourceInUse": NameTaken,
    "ResourceLimitExceeded": LimitReached,
}


def _credentials(operation: str, error: Exception) -> errors.ServiceError:
    text = _advised(f"{operation}: {error}", "Log in (aws configure, aws sso login), or give session=...")
    return _made(errors.CredentialsError, operation, None, text)


_ADVICE: dict[type[errors.ServiceError], str] = {
    errors.CredentialsError: "Log in again (aws sso login), or give session=...",
    errors.BucketNotFound: "Create the bucket, or give another s3_root_uri.",
    errors.AccessDenied: "`smexec doctor` lists what is missing.",
}


def _advised(text: str, advice: str | None) -> str:
    """A sentence of AWS's, which may lack its full stop, and one of ours."""
    if advice is None:
        return text
    return f"{text}{'' if text.endswith(('.', '!', '?')) else '.'} {advice}"


def _made(
    kind: type[errors.ServiceError], operation: str, code: str | None, text: str
) -> errors.ServiceError:
    error = kind(text)
    error.operation, error.code = operation, code
    return error
