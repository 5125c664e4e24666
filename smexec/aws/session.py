"""Sessions: whatever the user has → one aioboto3 session, made when it is first needed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import aioboto3


@dataclass(frozen=True)
class Endpoint:
    """An AWS of one's own: the embedded service's address, and what it takes for credentials."""

    url: str
    region: str
    access_key: str
    secret_key: str


def open_session(given: Any, endpoint: Endpoint | None) -> aioboto3.Session:
    """The session to use.

    :param given: None, or a boto3 or aioboto3 session: its credentials are asked at each request, so that
        they may be renewed
    """
    import aioboto3

    if endpoint:
        return aioboto3.Session(endpoint.access_key, endpoint.secret_key, region_name=endpoint.region)
    if given is None:
        return aioboto3.Session()
    return given if isinstance(given, aioboto3.Session) else _borrowing(given)


def region_of(session: aioboto3.Session) -> str | None:
    """Its own; else what ``AWS_REGION`` says, which other SDKs and SageMaker set and boto does not know."""
    return session.region_name or os.environ.get("AWS_REGION") or None


def _borrowing(boto_session: Any) -> aioboto3.Session:
    import aioboto3
    from aiobotocore.credentials import AioCredentials
    from aiobotocore.session import AioSession
    from anyio import to_thread

    class Borrowed(AioCredentials):  # type: ignore[misc]
        """Another session's credentials, which may take a call of their own to renew."""

        async def get_frozen_credentials(self) -> Any:
            return await to_thread.run_sync(lambda: boto_session.get_credentials().get_frozen_credentials())

    # One that was made without a profile calls itself "default", whether there is such a profile or not.
    named = boto_session.profile_name in boto_session.available_profiles
    session = AioSession(profile=boto_session.profile_name if named else None)
    if boto_session.get_credentials() is not None:
        session._credentials = Borrowed("borrowed", "borrowed")  # noqa: SLF001  # no public way leads there
    return aioboto3.Session(botocore_session=session, region_name=boto_session.region_name)
