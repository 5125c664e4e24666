"""What an account has of one kind of resource, and the List… operations with their oddities."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, TypeVar

from smexec.local.jobs import TERMINAL, Job
from smexec.local.model import ServiceError, invalid
from smexec.local.resources import Resource

DEFAULT_MAX_RESULTS = 10

_SortKey = tuple[Any, str]


R = TypeVar("R", bound=Resource)
J = TypeVar("J", bound=Job)


class Store(Generic[R]):
    """All of a kind by name.  Names are taken until the Delete… operation.

    Args:
        kind: their class, which knows its words.
        place: how ARNs begin: partition, region and account.
    """

    def __init__(self, kind: type[R], place: str) -> None:
        self._kind = kind
        self._place = place
        self._all: dict[str, R] = {}

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[R]:
        return iter(tuple(self._all.values()))

    def __contains__(self, name: str) -> bool:
        return name in self._all

    def arn(self, name: str) -> str:
        """What one of that name has; the service writes names in lower case there."""
        return f"{self._place}:{self._kind.arn_type()}/{name.lower()}"

    def require_free(self, name: str) -> None:
        """Refuse a name that is taken.

        Raises:
            ServiceError: in the words of the kind.
        """
        if name in self._all:
            raise self._all[name].taken()

    def add(self, resource: R) -> None:
        """Take one in, if its name is free."""
        self.require_free(resource.name)
        self._all[resource.name] = resource

    def get(self, name: str) -> R:
        """The one of that name.

        Raises:
            ServiceError: ValidationException, which is what the service says of unknown names.
        """
        resource = self._all.get(name)
        if resource is None:
            raise invalid(self._kind.unknown.format(noun=self._kind.noun, name=name, arn=self.arn(name)))
        return resource

    def delete(self, resource: R) -> None:
        """Forget it; its name is free again."""
        del self._all[resource.name]

    def page(self, query: Mapping[str, Any], now: float) -> dict[str, Any]:
        """One List… response.

        NameContains, CreationTime* and the filters of the kind choose the entries; then the page is cut; then
        StatusEquals and LastModifiedTime* are applied, so that a page can be empty and have a NextToken.
        """
        sort_key = _sort_key(query.get("SortBy", "CreationTime"))
        descending = query.get("SortOrder", "Descending") == "Descending"
        found = sorted(
            (one for one in self._all.values() if _chosen(one, query, now)), key=sort_key, reverse=descending
        )
        if "NextToken" in query:
            found = _after(_read_token(query["NextToken"]), found, sort_key, descending)
        size = query.get("MaxResults", DEFAULT_MAX_RESULTS)
        page, rest = found[:size], found[size:]
        answer: dict[str, Any] = {
            self._kind.listed(): [one.summary(now) for one in page if _shown(one, query)]
        }
        if rest:
            answer["NextToken"] = _token(sort_key(page[-1]))
        return answer


class JobStore(Store[J]):
    """Jobs, of which those that hold instances are at hand."""

    def __init__(self, kind: type[J], place: str) -> None:
        super().__init__(kind, place)
        self._live: dict[str, J] = {}

    def add(self, resource: J) -> None:
        """See :class:`Store`."""
        super().add(resource)
        self._live[resource.name] = resource

    def delete(self, resource: J) -> None:
        """See :class:`Store`."""
        super().delete(resource)
        self._live.pop(resource.name, None)

    def holding(self, still_holds: Callable[[J], bool]) -> list[J]:
        """The jobs that may hold instances; those for which `still_holds` says no are not looked at again.

        An account has few such jobs however many it has run, so that a create costs the same in a long
        session.
        """
        self._live = {name: job for name, job in self._live.items() if still_holds(job)}
        return list(self._live.values())


def _chosen(one: Resource, query: Mapping[str, Any], now: float) -> bool:
    """The filters that the service applies before it cuts a page."""
    named = query.get("NameContains", "") in one.name
    return named and _within(one.created, query, "CreationTime") and one.matches(query, now)


def _shown(one: Resource, query: Mapping[str, Any]) -> bool:
    """The filters that the service applies to the page it has cut."""
    return query.get("StatusEquals", one.status) == one.status and _within(
        one.modified, query, "LastModifiedTime"
    )


def _within(moment: float, query: Mapping[str, Any], name: str) -> bool:
    after, before = query.get(f"{name}After"), query.get(f"{name}Before")
    return (after is None or moment > after) and (before is None or moment < before)


_SORT_KEYS: Mapping[str, Callable[[Resource], Any]] = {
    "Name": lambda one: one.name,
    "CreationTime": lambda one: one.created,
    "Status": lambda one: one.status,
}


def _sort_key(sort_by: str) -> Callable[[Resource], _SortKey]:
    """The name breaks ties, so that a token points at one place."""
    key = _SORT_KEYS[sort_by]
    return lambda one: (key(one), one.name)


def _after(last: _SortKey, found: list[R], key: Callable[[Resource], _SortKey], descending: bool) -> list[R]:
    """What is behind the last page's end, which is a place in the order: some may come or go meanwhile."""
    try:
        return [one for one in found if (key(one) < last if descending else key(one) > last)]
    except TypeError:
        raise _bad_token() from None


def _token(last: _SortKey) -> str:
    return base64.urlsafe_b64encode(json.dumps(last).encode()).decode()


def _read_token(token: str) -> _SortKey:
    try:
        key, name = json.loads(base64.urlsafe_b64decode(token))
    except (TypeError, ValueError):
        raise _bad_token() from None
    return key, name


def _bad_token() -> ServiceError:
    return invalid(
        "Invalid NextToken. Use the value of NextToken in the previous response with the same parameters."
    )


def require_deletable(job: Job, pool_available: bool = False) -> None:
    """DeleteTrainingJob and DeleteProcessingJob take ended jobs that keep no warm pool.

    Raises:
        ServiceError: ResourceInUse.
    """
    if job.status not in TERMINAL:
        raise ServiceError(
            "ResourceInUse", f"The {job.noun} {job.name} is in status {job.status} and can't be deleted."
        )
    if pool_available:
        raise ServiceError(
            "ResourceInUse",
            f"The {job.noun} {job.name} retains an Available warm pool and can't be deleted.",
        )
