"""What one account has in one region."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

from smexec.local.config import ServiceConfig
from smexec.local.jobs import Job
from smexec.local.model import invalid
from smexec.local.processing import ProcessingJob
from smexec.local.resources import Resource
from smexec.local.serving import Endpoint, EndpointConfig, Model
from smexec.local.store import JobStore, Store
from smexec.local.training import TrainingJob
from smexec.local.transform import TransformJob


class Account:
    """The account's resources, by kind."""

    def __init__(self, config: ServiceConfig) -> None:
        place = f"arn:{partition(config.region)}:sagemaker:{config.region}:{config.account}"
        self.training = JobStore(TrainingJob, place)
        self.processing = JobStore(ProcessingJob, place)
        self.transform = JobStore(TransformJob, place)
        self.models = Store(Model, place)
        self.endpoint_configs = Store(EndpointConfig, place)
        self.endpoints = Store(Endpoint, place)

    @property
    def jobs(self) -> tuple[JobStore[Any], ...]:
        """The stores of jobs."""
        return self.training, self.processing, self.transform

    @property
    def stores(self) -> tuple[Store[Any], ...]:
        """All stores."""
        return *self.jobs, self.models, self.endpoint_configs, self.endpoints

    def by_arn(self, arn: str) -> Resource:
        """What a tag operation names.

        Raises:
            ServiceError: there is no such thing.
        """
        for resource in self._all():
            if resource.arn == arn:
                return resource
        raise invalid("Requested resource not found.")

    def job(self, name: str) -> Job:
        """The job of that name, whatever its kind.

        Raises:
            ServiceError: there is none.
        """
        found: Job = next((store for store in self.jobs if name in store), self.training).get(name)
        return found

    def _all(self) -> Iterator[Resource]:
        return chain.from_iterable(self.stores)


def partition(region: str) -> str:
    """The AWS partition that a region is in."""
    if region.startswith("cn-"):
        return "aws-cn"
    return "aws-us-gov" if region.startswith("us-gov-") else "aws"
