from __future__ import annotations

import asyncio

import pytest

from smexec.local.config import ServiceConfig
from smexec.local.faults import Fault
from smexec.local.model import ServiceError
from smexec.local.traffic import Traffic
from smexec.local.wire import Operation

LIST = Operation("sagemaker", "ListTrainingJobs", "json")
PUT = Operation("s3", "PutObject", "s3")


def test_every_request_is_counted_whatever_becomes_of_it() -> None:
    traffic = Traffic(ServiceConfig(rates={"ListTrainingJobs": 1.0}))
    traffic.faults.order(Fault("PutObject", "throttle"))
    faults = [traffic.arrived(operation, str) for operation in (PUT, PUT, LIST, LIST)]
    assert [fault is not None for fault in faults] == [True, False, False, False]
    traffic.check_rate(LIST, 0.0)
    with pytest.raises(ServiceError, match="ThrottlingException: Rate exceeded"):
        traffic.check_rate(LIST, 0.0)
    assert traffic.counts == {"s3.PutObject": 2, "sagemaker.ListTrainingJobs": 2}


def test_a_rate_can_be_for_one_service_or_for_a_name_in_all() -> None:
    for name in ("PutObject", "s3.PutObject"):
        traffic = Traffic(ServiceConfig(rates={name: 1.0}))
        traffic.check_rate(PUT, 0.0)
        with pytest.raises(ServiceError, match="SlowDown"):
            traffic.check_rate(PUT, 0.0)


def test_waiting_for_requests_ends_with_the_last_of_them() -> None:
    async def wait() -> int:
        traffic = Traffic(ServiceConfig())
        waiter = asyncio.create_task(traffic.reached({"s3.PutObject": 2, "sagemaker.ListTrainingJobs": 1}))
        arrived = 0
        for operation in (PUT, PUT, LIST):
            await asyncio.sleep(0)
            assert not waiter.done()
            traffic.arrived(operation, str)
            arrived += 1
        await waiter
        return arrived

    assert asyncio.run(wait()) == 3
