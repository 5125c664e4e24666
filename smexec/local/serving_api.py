"""The operations on models, endpoint configurations and endpoints."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping
from typing import Protocol

from smexec.local.api import Desk, Members, Operations, ResourceApi, tags_of
from smexec.local.checks import refuse_first
from smexec.local.limits import check_endpoint_quotas, total
from smexec.local.model import invalid
from smexec.local.serving import (
    Capacities,
    Endpoint,
    EndpointConfig,
    Model,
    changed,
    config_problems,
    data_url,
    instances_of,
    is_folder,
    kept,
    model_problems,
)


class Deployer(Protocol):
    """What the operations need of the hosting; see :class:`~smexec.local.hosting.Hosting`."""

    def deploy(self, endpoint: Endpoint, config: EndpointConfig, capacities: Capacities) -> None:
        """Begin to serve a configuration, in the place of the one that is served."""

    def rescale(self, endpoint: Endpoint) -> None:
        """Begin to give its variants the capacities that they are to have."""

    def remove(self, endpoint: Endpoint) -> None:
        """Begin to end it; its name is free afterwards."""


class ModelApi(ResourceApi[Model]):
    """The operations on models."""

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk, Model, desk.account.models)

    async def create(self, members: Members) -> Members:
        """CreateModel: the role and the model data must be there."""
        refuse_first(model_problems(members))
        model = Model(copy.deepcopy(members), self._store.arn(self.name(members)), self._desk.clock)
        model.tags = tags_of(members)
        self._store.require_free(model.name)
        await self._desk.preconditions.check_role(members["ExecutionRoleArn"])
        for container in model.containers:
            url, preconditions = data_url(container), self._desk.preconditions
            has = preconditions.has if is_folder(container) else preconditions.has_object
            if url and not await has(url):
                raise invalid(f"Could not find model data at {url}.")
        self._store.add(model)
        return {"ModelArn": model.arn}


class EndpointConfigApi(ResourceApi[EndpointConfig]):
    """The operations on endpoint configurations."""

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk, EndpointConfig, desk.account.endpoint_configs)

    async def create(self, members: Members) -> Members:
        """CreateEndpointConfig: its models must be there."""
        refuse_first(config_problems(members))
        for variant in members["ProductionVariants"]:
            self._desk.account.models.get(variant["ModelName"])
        arn = self._store.arn(self.name(members))
        config = EndpointConfig(copy.deepcopy(members), arn, self._desk.clock, tags_of(members))
        self._store.add(config)
        return {"EndpointConfigArn": arn}


class EndpointApi(ResourceApi[Endpoint]):
    """The operations on endpoints."""

    def __init__(self, desk: Desk, hosting: Deployer) -> None:
        super().__init__(desk, Endpoint, desk.account.endpoints)
        self._hosting = hosting

    @property
    def operations(self) -> Operations:
        """See :class:`ResourceApi`."""
        return {
            **super().operations,
            "UpdateEndpoint": self.update,
            "UpdateEndpointWeightsAndCapacities": self.rescale,
        }

    async def create(self, members: Members) -> Members:
        """CreateEndpoint: answers at once; the endpoint is Creating until it is in service."""
        config = self._config(members)
        arn = self._store.arn(self.name(members))
        endpoint = Endpoint(dict(members), arn, self._desk.clock, tags_of(members), config)
        self._store.require_free(endpoint.name)
        self._check_quotas(endpoint.instances)
        self._store.add(endpoint)
        self._hosting.deploy(endpoint, config, kept(config, {}, members))
        return {"EndpointArn": arn}

    async def update(self, members: Members) -> Members:
        """UpdateEndpoint: the old configuration is served until the new one is ready."""
        endpoint, config = self._settled(members), self._config(members)
        if endpoint.status == "Failed":
            raise invalid(f'Cannot update endpoint "{endpoint.arn}" that has failed to be created.')
        capacities = kept(config, endpoint.capacities, members)
        instances = instances_of(config, capacities)
        self._check_quotas(instances)
        endpoint.update(instances)
        self._hosting.deploy(endpoint, config, capacities)
        return {"EndpointArn": endpoint.arn}

    async def rescale(self, members: Members) -> Members:
        """UpdateEndpointWeightsAndCapacities: of the same containers, as there is one for each variant."""
        endpoint = self._settled(members)
        if endpoint.status == "Failed" or endpoint.config is None:
            raise invalid(f'Cannot update endpoint "{endpoint.arn}" that has failed to be created.')
        capacities = changed(endpoint.desired, members)
        wanted = instances_of(endpoint.config, capacities) - Counter(endpoint.instances)
        self._check_quotas(wanted)
        endpoint.rescale(capacities)
        self._hosting.rescale(endpoint)
        return {"EndpointArn": endpoint.arn}

    async def delete(self, members: Members) -> None:
        """DeleteEndpoint: answers at once; the endpoint is Deleting until it is gone."""
        endpoint = self._settled(members)
        endpoint.enter("Deleting")
        self._hosting.remove(endpoint)

    def _check_quotas(self, wanted: Mapping[str, int]) -> None:
        used = total(endpoint.instances for endpoint in self._store)
        check_endpoint_quotas(wanted, used, self._desk.config)

    def _config(self, members: Members) -> EndpointConfig:
        return self._desk.account.endpoint_configs.get(members["EndpointConfigName"])

    def _settled(self, members: Members) -> Endpoint:
        endpoint = self.get(members)
        if endpoint.in_progress:
            raise invalid(f'Cannot update in-progress endpoint "{endpoint.arn}".')
        return endpoint
