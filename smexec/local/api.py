"""SageMaker's operations: members in, members out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from smexec.local.account import Account
from smexec.local.checks import Preconditions
from smexec.local.config import ServiceConfig
from smexec.local.jobs import Job
from smexec.local.limits import check_quotas, holds_instances
from smexec.local.model import ServiceError, invalid, operation_model, parse_request
from smexec.local.resources import Clock, Resource
from smexec.local.store import JobStore, Store, require_deletable

Members = dict[str, Any]
Operations = Mapping[str, Callable[[Members], Awaitable[Members | None]]]
R = TypeVar("R", bound=Resource)
J = TypeVar("J", bound=Job)
_MAX_TAGS = 50


@dataclass(frozen=True)
class Desk:
    """What the operations of all kinds work with.

    Attributes:
        launch: starts what was accepted; returns at once.
        clock: the time, in epoch seconds.
    """

    config: ServiceConfig
    account: Account
    preconditions: Preconditions
    launch: Callable[[Any], None]
    clock: Clock


class Api:
    """Carries out requests by the operations that there are, of one service."""

    def __init__(self, *operations: Operations, service: str = "sagemaker") -> None:
        self._service = service
        self._operations = {name: handler for part in operations for name, handler in part.items()}

    async def __call__(self, operation: str, body: bytes) -> Members | None:
        """Carry out one request; None where the operation answers nothing.

        Raises:
            ServiceError: what the service answers instead.
        """
        handler = self._operations.get(operation)
        if handler is None:
            operation_model(operation, self._service)
            raise ServiceError("NotImplemented", f"The local service has no {operation}.", 501)
        return await handler(parse_request(operation, body, self._service))


class ResourceApi(ABC, Generic[R]):
    """The operations that all kinds of resources have."""

    def __init__(self, desk: Desk, kind: type[R], store: Store[R]) -> None:
        self._desk = desk
        self._kind = kind
        self._store = store

    @property
    def operations(self) -> Operations:
        """Name to what carries it out."""
        kind = self._kind.kind
        return {
            f"Create{kind}": self.create,
            f"Describe{kind}": self.describe,
            f"List{kind}s": self.list_all,
            f"Delete{kind}": self.delete,
        }

    def name(self, members: Members) -> str:
        """The member that names the resource."""
        name: str = members[f"{self._kind.kind}Name"]
        return name

    def get(self, members: Members) -> R:
        """The one that a request names.

        Raises:
            ServiceError: there is none.
        """
        return self._store.get(self.name(members))

    @abstractmethod
    async def create(self, members: Members) -> Members:
        """Create…: checks from the cheapest to the dearest, then takes the name."""

    async def describe(self, members: Members) -> Members:
        """Describe…."""
        return self.get(members).describe(self._desk.clock())

    async def list_all(self, members: Members) -> Members:
        """List…."""
        return self._store.page(members, self._desk.clock())

    async def delete(self, members: Members) -> None:
        """Delete…."""
        self._store.delete(self.get(members))


class JobApi(ResourceApi[J]):
    """The operations that all kinds of jobs have."""

    _store: JobStore[J]

    @property
    def operations(self) -> Operations:
        """See :class:`ResourceApi`."""
        return {**super().operations, f"Stop{self._kind.kind}": self.stop}

    @abstractmethod
    def check(self, members: Members) -> Iterable[str]:
        """Refuse members that contradict each other; the S3 URIs that must have something.

        Raises:
            ServiceError: ValidationException.
        """

    def role(self, members: Members) -> str:
        """The role that the platform takes for it."""
        role: str = members["RoleArn"]
        return role

    @abstractmethod
    def make(self, members: Members, arn: str) -> J:
        """The record of an accepted request."""

    async def create(self, members: Members) -> Members:
        """Create…Job: the last to be taken is the quota."""
        inputs = self.check(members)
        self._store.require_free(self.name(members))
        await self._desk.preconditions.check(self.role(members), inputs)
        # Nothing is awaited from here on: of two creates that race for a name or for the last instance, one
        # loses.
        self._store.require_free(self.name(members))
        job = self.make(members, self._store.arn(self.name(members)))
        check_quotas(job, self._holding(), self._desk.config, job.created)
        self._store.add(job)
        self._desk.launch(job)
        return {f"{job.kind}Arn": job.arn}

    async def stop(self, members: Members) -> None:
        """Stop…Job: answers at once; the job is Stopping until it has ended."""
        job = self.get(members)
        require_in_progress(job)
        job.stop()

    async def delete(self, members: Members) -> None:
        """Delete…Job."""
        require_deletable(self.get(members))
        await super().delete(members)

    def _holding(self) -> list[J]:
        now = self._desk.clock()
        return self._store.holding(lambda job: holds_instances(job, self._desk.config, now))


class TagApi:
    """The operations on tags, whatever carries them."""

    def __init__(self, account: Account) -> None:
        self._account = account

    @property
    def operations(self) -> Operations:
        """Name to what carries it out."""
        return {"AddTags": self.add_tags, "ListTags": self.list_tags, "DeleteTags": self.delete_tags}

    async def add_tags(self, members: Members) -> Members:
        """AddTags: a key that is there gets the new value; answers with the tags that were added."""
        resource = self._account.by_arn(members["ResourceArn"])
        tags = {**resource.tags, **tags_of(members)}
        if len(tags) > _MAX_TAGS:
            raise invalid(f"The resource {resource.arn} can have at most {_MAX_TAGS} tags.")
        resource.tags = tags
        return {"Tags": members["Tags"]}

    async def list_tags(self, members: Members) -> Members:
        """ListTags: all of them at once, since a page holds 50 and nothing has more."""
        resource = self._account.by_arn(members["ResourceArn"])
        return {"Tags": [{"Key": key, "Value": value} for key, value in resource.tags.items()]}

    async def delete_tags(self, members: Members) -> Members:
        """DeleteTags: keys that are not there are no error."""
        resource = self._account.by_arn(members["ResourceArn"])
        resource.tags = {key: value for key, value in resource.tags.items() if key not in members["TagKeys"]}
        return {}


def require_in_progress(job: Job) -> None:
    """Refuse what can be asked of a running job only.

    Raises:
        ServiceError: ValidationException.
    """
    if job.status != "InProgress":
        raise invalid(f"The request was rejected because the {job.noun} is in status {job.status}.")


def tags_of(members: Members) -> dict[str, str]:
    """The tags of a request, key to value."""
    return {tag["Key"]: tag["Value"] for tag in members.get("Tags", ())}
