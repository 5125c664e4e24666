from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smexec.local.config import ServiceConfig
from smexec.local.limits import (
    Rates,
    TokenBucket,
    WarmPools,
    check_quotas,
    holds_instances,
    take_capacity_error,
)
from smexec.local.model import ServiceError
from smexec.local.training import TrainingJob, with_defaults


def job(name: str = "job", *, count: int = 1, at: float = 0.0, **changes: Any) -> TrainingJob:
    resources = {"InstanceType": "ml.m5.large", "InstanceCount": count, "VolumeSizeInGB": 1}
    resources |= changes.pop("resources", {})
    request = {
        "TrainingJobName": name,
        "AlgorithmSpecification": {"TrainingImage": "image", "TrainingInputMode": "File"},
        "RoleArn": "arn:aws:iam::123456789012:role/Execution",
        "OutputDataConfig": {"S3OutputPath": "s3://bucket/output"},
        "ResourceConfig": resources,
        "StoppingCondition": {},
        **changes,
    }
    return TrainingJob(with_defaults(request), f"arn:{name}", lambda: at)


SPOT: dict[str, Any] = {
    "EnableManagedSpotTraining": True,
    "StoppingCondition": {"MaxWaitTimeInSeconds": 90_000},
}


def kept(name: str = "former", *, at: float = 0.0, **changes: Any) -> TrainingJob:
    """A job that has ended and asked for its instances to be kept."""
    resources = {"KeepAlivePeriodInSeconds": 60} | changes.pop("resources", {})
    former = job(name, at=at, resources=resources, **changes)
    former.enter("Training")
    former.complete()
    return former


def test_a_bucket_lets_through_what_its_rate_allows() -> None:
    bucket = TokenBucket.full(2.0, now=0.0)
    assert [bucket.take(0.0) for _ in range(3)] == [True, True, False]
    assert [bucket.take(0.5), bucket.take(0.5)] == [True, False]


def test_a_rate_below_one_still_lets_single_requests_through() -> None:
    bucket = TokenBucket.full(0.1, now=0.0)
    assert [bucket.take(0.0), bucket.take(9.9), bucket.take(10.0)] == [True, False, True]


@given(st.floats(0.1, 50), st.lists(st.floats(0, 5), max_size=60))
def test_no_more_goes_through_than_the_burst_and_the_rate(rate: float, gaps: list[float]) -> None:
    bucket, now, passed = TokenBucket.full(rate, 0.0), 0.0, 0
    for gap in gaps:
        now += gap
        passed += bucket.take(now)
    assert passed <= max(1.0, rate) + rate * now + 1e-6


def test_only_named_apis_have_a_rate_and_a_new_rate_counts_from_now() -> None:
    config = ServiceConfig(rates={"ListTrainingJobs": 1.0})
    rates = Rates(config)
    assert [rates.allow("ListTrainingJobs", 0.0) for _ in range(2)] == [True, False]
    assert all(rates.allow("CreateTrainingJob", 0.0) for _ in range(100))
    config.configure({"rates": {"ListTrainingJobs": 3.0}})
    assert [rates.allow("ListTrainingJobs", 0.0) for _ in range(4)] == [True, True, True, False]
    config.configure({"rates": {"ListTrainingJobs": None}})
    assert all(rates.allow("ListTrainingJobs", 0.0) for _ in range(100))


def refusal(new: TrainingJob, others: list[TrainingJob], config: ServiceConfig, now: float = 0.0) -> str:
    with pytest.raises(ServiceError) as caught:
        check_quotas(new, others, config, now)
    assert caught.value.code == "ResourceLimitExceeded"
    return caught.value.message


def test_a_quota_of_nothing_refuses_in_the_services_words() -> None:
    config = ServiceConfig(quotas={"ml.m5.large": 0})
    assert refusal(job(), [], config).startswith(
        "The account-level service limit 'ml.m5.large for training job usage' is 0 Instances, with current "
        "utilization of 0 Instances and a request delta of 1 Instances. "
        "Please use AWS Service Quotas to request an increase for this quota."
    )


def test_instances_of_all_live_jobs_count() -> None:
    config = ServiceConfig(quotas={"ml.m5.large": 4})
    check_quotas(job(count=2), [job("a"), job("b")], config, 0.0)
    assert "is 4 Instances, with current utilization of 3 Instances and a request delta of 2" in refusal(
        job(count=2), [job("a", count=3)], config
    )


def test_the_default_is_no_quota_and_a_star_is_for_the_types_not_named() -> None:
    check_quotas(job(count=1000), [], ServiceConfig(), 0.0)
    config = ServiceConfig(quotas={"*": 0, "ml.c5.xlarge": 1})
    assert "'ml.m5.large for training job usage' is 0" in refusal(job(), [], config)
    check_quotas(job(resources={"InstanceType": "ml.c5.xlarge"}), [], config, 0.0)


def test_spot_has_quotas_of_its_own() -> None:
    config = ServiceConfig(quotas={"ml.m5.large": 1}, spot_quotas={"ml.m5.large": 1})
    check_quotas(job(**SPOT), [job("on-demand")], config, 0.0)
    assert "'ml.m5.large for spot training job usage' is 1" in refusal(
        job(**SPOT), [job("s", **SPOT)], config
    )


def test_new_accounts_have_a_limit_over_all_types() -> None:
    config = ServiceConfig(quotas={"total": 4})
    others = [job("a", count=2), job("b", count=2, resources={"InstanceType": "ml.c5.xlarge"})]
    assert "across all training jobs' is 4 Instances, with current utilization of 4" in refusal(
        job(), others, config
    )


def test_groups_are_checked_type_by_type() -> None:
    group = {"InstanceCount": 2, "InstanceGroupName": "g"}
    new = job()
    new.request["ResourceConfig"] = {
        "InstanceGroups": [
            {**group, "InstanceType": "ml.m5.large"},
            {**group, "InstanceType": "ml.c5.xlarge"},
        ]
    }
    assert "'ml.c5.xlarge for" in refusal(new, [], ServiceConfig(quotas={"ml.c5.xlarge": 1}))


def test_the_longest_run_time_is_a_quota_too() -> None:
    new = job(StoppingCondition={"MaxRuntimeInSeconds": 500_000})
    assert "'Longest run time for a training job' is 432000 Seconds" in refusal(new, [], ServiceConfig())
    check_quotas(new, [], ServiceConfig(max_runtime_quota=-1), 0.0)


def test_stopped_instances_are_released_late_and_others_at_once() -> None:
    config = ServiceConfig(release_delay=30.0)
    stopped, completed, live = job("stopped", at=100.0), job("completed", at=100.0), job("live")
    stopped.stop()
    stopped.stopped()
    completed.complete()
    assert holds_instances(live, config, 1e9)
    assert not holds_instances(completed, config, 100.0)
    assert holds_instances(stopped, config, 129.9)
    assert not holds_instances(stopped, config, 130.0)


@given(st.lists(st.integers(1, 5), max_size=20), st.integers(0, 20))
def test_what_is_admitted_never_exceeds_the_quota(counts: list[int], quota: int) -> None:
    config = ServiceConfig(quotas={"ml.m5.large": quota})
    admitted: list[TrainingJob] = []
    for number, count in enumerate(counts):
        new = job(str(number), count=count)
        try:
            check_quotas(new, admitted, config, 0.0)
        except ServiceError:
            continue
        admitted.append(new)
    assert sum(other.instances["ml.m5.large"] for other in admitted) <= quota


def test_capacity_errors_are_used_up() -> None:
    config = ServiceConfig(capacity_errors={"ml.m5.large": 2})
    assert [take_capacity_error(job(), config) for _ in range(3)] == [True, True, False]
    assert not take_capacity_error(job(resources={"InstanceType": "ml.c5.xlarge"}), config)


def test_capacity_errors_can_last() -> None:
    config = ServiceConfig(capacity_errors={"ml.m5.large": -1})
    assert all(take_capacity_error(job(), config) for _ in range(10))


@pytest.fixture
def pools() -> WarmPools:
    return WarmPools(ServiceConfig())


def status(former: TrainingJob, now: float) -> str:
    assert former.warm_pool is not None
    return former.warm_pool.status(now)


def test_a_kept_pool_serves_the_next_job_once(pools: WarmPools) -> None:
    former = kept()
    pools.keep(former, 0.0)
    assert status(former, 59.9) == "Available"
    following = job("following")
    assert pools.take(following, 10.0) is former
    assert following.reuses == "former"
    assert former.describe(20.0)["WarmPoolStatus"] == {
        "Status": "Reused",
        "ReusedByJob": "following",
        "ResourceRetainedBillableTimeInSeconds": 10,
    }
    assert pools.take(job("third"), 11.0) is None


def test_a_pool_expires(pools: WarmPools) -> None:
    former = kept()
    pools.keep(former, 0.0)
    assert pools.take(job(), 60.0) is None
    assert former.describe(100.0)["WarmPoolStatus"] == {
        "Status": "Terminated",
        "ResourceRetainedBillableTimeInSeconds": 60,
    }


def test_pools_are_kept_after_failure_and_stop_too(pools: WarmPools) -> None:
    ends: list[Callable[[TrainingJob], None]] = [lambda job: job.fail("x"), lambda job: job.stopped()]
    for number, end in enumerate(ends):
        former = job(str(number), resources={"KeepAlivePeriodInSeconds": 60})
        former.enter("Training")
        end(former)
        pools.keep(former, 0.0)
        assert status(former, 1.0) == "Available"


def test_a_job_that_never_had_instances_leaves_none(pools: WarmPools) -> None:
    former = job(resources={"KeepAlivePeriodInSeconds": 60})
    former.fail("CapacityError: none")
    pools.keep(former, 0.0)
    assert status(former, 0.0) == "Terminated"


def test_without_keep_alive_nothing_is_kept(pools: WarmPools) -> None:
    former = job()
    former.enter("Training")
    former.complete()
    pools.keep(former, 0.0)
    assert pools.take(job("next"), 0.0) is None
    assert "WarmPoolStatus" not in former.describe(0.0)


VPC = {"SecurityGroupIds": ["sg-1", "sg-2"], "Subnets": ["subnet-1"]}


@pytest.mark.parametrize(
    "difference",
    [
        {"RoleArn": "arn:aws:iam::123456789012:role/Other"},
        {"count": 2},
        {"resources": {"InstanceType": "ml.c5.xlarge"}},
        {"resources": {"VolumeSizeInGB": 2}},
        {"resources": {"VolumeKmsKeyId": "key"}},
        {"VpcConfig": VPC},
        {"EnableInterContainerTrafficEncryption": True},
        {"EnableNetworkIsolation": True},
        SPOT,
    ],
)
def test_jobs_share_a_pool_only_if_they_agree(pools: WarmPools, difference: dict[str, Any]) -> None:
    former = kept()
    pools.keep(former, 0.0)
    assert pools.take(job("other", **difference), 1.0) is None
    assert pools.take(job("same"), 1.0) is former


def test_the_image_and_the_order_of_subnets_do_not_matter(pools: WarmPools) -> None:
    former = kept(VpcConfig=VPC)
    pools.keep(former, 0.0)
    other = job(
        "other",
        VpcConfig={"SecurityGroupIds": ["sg-2", "sg-1"], "Subnets": ["subnet-1"]},
        AlgorithmSpecification={"TrainingImage": "another", "TrainingInputMode": "Pipe"},
    )
    assert pools.take(other, 1.0) is former


def test_the_oldest_pool_goes_first(pools: WarmPools) -> None:
    first, second = kept("first"), kept("second")
    pools.keep(first, 0.0)
    pools.keep(second, 1.0)
    assert [pools.take(job(str(n)), 2.0) for n in range(3)] == [first, second, None]


def test_without_quota_the_pool_is_silently_not_kept() -> None:
    pools = WarmPools(ServiceConfig(warm_pool_quotas={"ml.m5.large": 1}))
    first, second = kept("first"), kept("second")
    pools.keep(first, 0.0)
    pools.keep(second, 0.0)
    assert (status(first, 0.0), status(second, 0.0)) == ("Available", "Terminated")
    pools.take(job(), 1.0)
    third = kept("third")
    pools.keep(third, 2.0)
    assert status(third, 2.0) == "Available"


def test_retention_can_be_made_longer_or_shorter(pools: WarmPools) -> None:
    former = kept()
    pools.keep(former, 0.0)
    pools.set_keep_alive(former, 600)
    assert pools.has(former, 500.0)
    pools.set_keep_alive(former, 1)
    assert not pools.has(former, 2.0)
    assert former.request["ResourceConfig"]["KeepAlivePeriodInSeconds"] == 1
