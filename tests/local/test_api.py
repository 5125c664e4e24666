"""SageMaker's operations, through boto3, on jobs that run."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError


@pytest.fixture
def sagemaker(aws: Any) -> Any:
    return aws.client("sagemaker")


def refusal(operation: Any, **members: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as caught:
        operation(**members)
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


SLEEP = ("sh", "-c", "trap 'exit 0' TERM; sleep 60 & wait")


def test_a_job_runs_from_create_to_completed(aws: Any, sagemaker: Any) -> None:
    request = aws.job(
        "sh", "-c", "echo trained > /opt/ml/model/weights", Tags=[{"Key": "team", "Value": "a"}]
    )
    name = request["TrainingJobName"]
    arn = sagemaker.create_training_job(**request)["TrainingJobArn"]
    assert arn == f"arn:aws:sagemaker:us-east-1:123456789012:training-job/{name}"
    assert aws.wait(name)["SecondaryStatus"] == "Completed"
    job = sagemaker.describe_training_job(TrainingJobName=name)
    assert job["RoleArn"] == request["RoleArn"]
    assert job["ResourceConfig"] == request["ResourceConfig"]
    assert job["StoppingCondition"] == {"MaxRuntimeInSeconds": 3600}
    assert [entry["Status"] for entry in job["SecondaryStatusTransitions"]] == [
        "Starting",
        "Downloading",
        "Training",
        "Uploading",
        "Completed",
    ]
    assert (
        job["CreationTime"] <= job["TrainingStartTime"] <= job["TrainingEndTime"] == job["LastModifiedTime"]
    )
    assert job["BillableTimeInSeconds"] >= 1
    bucket, _, key = job["ModelArtifacts"]["S3ModelArtifacts"].removeprefix("s3://").partition("/")
    assert aws.client("s3").head_object(Bucket=bucket, Key=key)["ContentLength"] > 0
    assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "team", "Value": "a"}]


def test_a_command_that_fails_makes_a_failed_job(aws: Any, sagemaker: Any) -> None:
    request = aws.job("sh", "-c", "exit 3")
    sagemaker.create_training_job(**request)
    aws.wait(request["TrainingJobName"])
    job = sagemaker.describe_training_job(TrainingJobName=request["TrainingJobName"])
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Failed", "Failed")
    assert job["FailureReason"].startswith("AlgorithmError: ")
    assert "exit code: 3" in job["FailureReason"]


def test_a_name_can_be_used_once(aws: Any, sagemaker: Any) -> None:
    request = aws.job("true")
    sagemaker.create_training_job(**request)
    with pytest.raises(
        sagemaker.exceptions.ResourceInUse, match="must be unique within an AWS account and region"
    ):
        sagemaker.create_training_job(**request)


def test_shape_errors_reach_the_client_in_the_services_words(aws: Any, sagemaker: Any) -> None:
    code, message = refusal(sagemaker.create_training_job, **aws.job("true", Environment={"1": "x"}))
    assert code == "ValidationException"
    assert message.startswith("1 validation error detected: Value '{1=x}' at 'environment' failed to satisfy")


def test_members_that_contradict_each_other_are_refused(aws: Any, sagemaker: Any) -> None:
    request = aws.job("true", EnableManagedSpotTraining=True)
    code, message = refusal(sagemaker.create_training_job, **request)
    assert (code, message.partition(".")[0]) == ("ValidationException", "Invalid MaxWaitTimeInSeconds")


def channel(uri: str, name: str = "train") -> dict[str, Any]:
    return {"ChannelName": name, "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": uri}}}


@pytest.mark.parametrize(
    "uri", ["s3://{bucket}/nothing-here", "s3://no-such-bucket-at-all/x", "s3://{bucket}/in"]
)
def test_inputs_must_be_there(aws: Any, sagemaker: Any, uri: str) -> None:
    bucket = aws.info["bucket"]
    uri = uri.format(bucket=bucket)
    request = aws.job("true", InputDataConfig=[channel(uri)])
    if uri.endswith("/in"):  # S3 knows prefixes, not directories
        aws.client("s3").put_object(Bucket=bucket, Key="input/one", Body=b"")
        sagemaker.create_training_job(**request)
        return
    code, message = refusal(sagemaker.create_training_job, **request)
    assert code == "ValidationException"
    assert message.startswith(f'No S3 objects found under S3 URL "{uri}" given in input data source.')
    assert "(us-east-1)" in message
    assert f'the role "{request["RoleArn"]}" has "s3:ListBucket" permissions on bucket' in message


def test_roles_must_exist_and_trust_sagemaker(aws: Any, sagemaker: Any) -> None:
    iam = aws.client("iam")
    document = (
        '{"Statement": {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "*"}}'
    )
    other = iam.create_role(RoleName="for-ec2", Path="/team/", AssumeRolePolicyDocument=document)["Role"][
        "Arn"
    ]
    for role in ("arn:aws:iam::123456789012:role/nobody", other):
        code, message = refusal(sagemaker.create_training_job, **aws.job("true", RoleArn=role))
        assert code == "ValidationException"
        assert message == (
            f"Could not assume role {role}. Please ensure that the role exists and allows principal "
            "'sagemaker.amazonaws.com' to assume the role."
        )
    foreign = "arn:aws:iam::210987654321:role/theirs"
    assert refusal(sagemaker.create_training_job, **aws.job("true", RoleArn=foreign)) == (
        "ValidationException",
        "RoleArn: Cross-account pass role is not allowed.",
    )


def test_a_role_that_trusts_sagemaker_will_do(aws: Any, sagemaker: Any) -> None:
    document = '{"Statement": [{"Effect": "Allow", "Principal": {"Service": ["sagemaker.amazonaws.com"]}}]}'
    role = aws.client("iam").create_role(RoleName="mine", AssumeRolePolicyDocument=document)["Role"]["Arn"]
    request = aws.job("true", RoleArn=role)
    sagemaker.create_training_job(**request)
    assert aws.wait(request["TrainingJobName"])["TrainingJobStatus"] == "Completed"


def test_a_running_job_counts_for_the_quota_and_an_ended_one_does_not(aws: Any, sagemaker: Any) -> None:
    instance = {"InstanceType": "ml.c5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 1}
    aws.control("configure", {"quotas": {"ml.c5.xlarge": 1}})
    first = aws.job(*SLEEP, ResourceConfig=instance)
    sagemaker.create_training_job(**first)
    with pytest.raises(
        sagemaker.exceptions.ResourceLimitExceeded, match="with current utilization of 1 Instances"
    ):
        sagemaker.create_training_job(**aws.job("true", ResourceConfig=instance))
    sagemaker.stop_training_job(TrainingJobName=first["TrainingJobName"])
    aws.wait(first["TrainingJobName"])
    sagemaker.create_training_job(**aws.job("true", ResourceConfig=instance))


def test_a_stop_is_seen_at_once_and_ends_the_job(aws: Any, sagemaker: Any) -> None:
    request = aws.job(*SLEEP)
    name = request["TrainingJobName"]
    sagemaker.create_training_job(**request)
    aws.wait(name, "Training")
    sagemaker.stop_training_job(TrainingJobName=name)
    assert aws.wait(name)["TrainingJobStatus"] == "Stopped"
    statuses = [
        entry["Status"]
        for entry in sagemaker.describe_training_job(TrainingJobName=name)["SecondaryStatusTransitions"]
    ]
    assert statuses.index("Stopping") == statuses.index("Training") + 1
    assert statuses[-1] == "Stopped"
    assert refusal(sagemaker.stop_training_job, TrainingJobName=name) == (
        "ValidationException",
        "The request was rejected because the training job is in status Stopped.",
    )


@pytest.mark.parametrize("operation", ["describe", "stop", "delete", "update"])
def test_unknown_jobs_are_not_found(sagemaker: Any, operation: str) -> None:
    code, message = refusal(getattr(sagemaker, f"{operation}_training_job"), TrainingJobName="nobody")
    assert (code, message) == ("ValidationException", "Requested resource not found.")


def test_lists_can_be_filtered_and_paged(aws: Any, sagemaker: Any) -> None:
    requests = [aws.job("true") for _ in range(3)]
    prefix = f"run-{requests[0]['TrainingJobName']}"
    for number, request in enumerate(requests):
        request["TrainingJobName"] = f"{prefix}-{number}"
        sagemaker.create_training_job(**request)
    for request in requests:
        aws.wait(request["TrainingJobName"])
    pages = list(
        sagemaker.get_paginator("list_training_jobs").paginate(
            NameContains=prefix,
            SortBy="Name",
            SortOrder="Ascending",
            PaginationConfig={"PageSize": 2},
        )
    )
    names = [[job["TrainingJobName"] for job in page["TrainingJobSummaries"]] for page in pages]
    assert names == [[f"{prefix}-0", f"{prefix}-1"], [f"{prefix}-2"]]
    summary = pages[0]["TrainingJobSummaries"][0]
    assert summary["TrainingJobStatus"] == "Completed"
    assert summary["TrainingEndTime"] == summary["LastModifiedTime"]
    later = summary["CreationTime"] + timedelta(days=1)
    assert sagemaker.list_training_jobs(CreationTimeAfter=later)["TrainingJobSummaries"] == []


def test_a_warm_pool_is_there_as_soon_as_the_end_is_seen(aws: Any, sagemaker: Any) -> None:
    instance = {
        "InstanceType": "ml.c5.2xlarge",
        "InstanceCount": 1,
        "VolumeSizeInGB": 1,
        "KeepAlivePeriodInSeconds": 600,
    }
    first, second = (aws.job("true", ResourceConfig=instance) for _ in range(2))
    sagemaker.create_training_job(**first)
    assert aws.wait(first["TrainingJobName"])["WarmPoolStatus"]["Status"] == "Available"
    sagemaker.create_training_job(**second)
    aws.wait(second["TrainingJobName"])
    pool = sagemaker.describe_training_job(TrainingJobName=first["TrainingJobName"])["WarmPoolStatus"]
    assert (pool["Status"], pool["ReusedByJob"]) == ("Reused", second["TrainingJobName"])
    assert (
        refusal(sagemaker.delete_training_job, TrainingJobName=second["TrainingJobName"])[0]
        == "ResourceInUse"
    )
    sagemaker.update_training_job(
        TrainingJobName=second["TrainingJobName"], ResourceConfig={"KeepAlivePeriodInSeconds": 0}
    )
    job = sagemaker.describe_training_job(TrainingJobName=second["TrainingJobName"])
    assert job["WarmPoolStatus"]["Status"] == "Terminated"
    sagemaker.delete_training_job(TrainingJobName=second["TrainingJobName"])
    assert (
        refusal(
            sagemaker.update_training_job,
            TrainingJobName=first["TrainingJobName"],
            ResourceConfig={"KeepAlivePeriodInSeconds": 60},
        )[0]
        == "ValidationException"
    )


def test_a_deleted_job_is_gone_and_its_name_free(aws: Any, sagemaker: Any) -> None:
    request = aws.job(*SLEEP)
    name = request["TrainingJobName"]
    sagemaker.create_training_job(**request)
    assert refusal(sagemaker.delete_training_job, TrainingJobName=name)[0] == "ResourceInUse"
    sagemaker.stop_training_job(TrainingJobName=name)
    aws.wait(name)
    sagemaker.delete_training_job(TrainingJobName=name)
    assert (
        refusal(sagemaker.describe_training_job, TrainingJobName=name)[1] == "Requested resource not found."
    )
    sagemaker.create_training_job(**aws.job("true", TrainingJobName=name))
    assert aws.wait(name)["TrainingJobStatus"] == "Completed"


def test_a_running_job_takes_profiling_and_debugging_and_an_ended_one_does_not(
    aws: Any, sagemaker: Any
) -> None:
    request = aws.job(*SLEEP)
    name = request["TrainingJobName"]
    sagemaker.create_training_job(**request)
    sagemaker.update_training_job(
        TrainingJobName=name,
        ProfilerConfig={"S3OutputPath": "s3://bucket/profile"},
        RemoteDebugConfig={"EnableRemoteDebug": True},
        ResourceConfig={"KeepAlivePeriodInSeconds": 60},
    )
    job = sagemaker.describe_training_job(TrainingJobName=name)
    assert job["ProfilerConfig"]["S3OutputPath"] == "s3://bucket/profile"
    assert job["ProfilingStatus"] == "Enabled"
    assert job["RemoteDebugConfig"] == {"EnableRemoteDebug": True}
    assert job["WarmPoolStatus"]["Status"] == "InUse"
    sagemaker.stop_training_job(TrainingJobName=name)
    aws.wait(name)
    code, message = refusal(
        sagemaker.update_training_job, TrainingJobName=name, RemoteDebugConfig={"EnableRemoteDebug": False}
    )
    assert (code, message.endswith("is in status Stopped.")) == ("ValidationException", True)


def test_tags_can_be_added_changed_and_removed(aws: Any, sagemaker: Any) -> None:
    arn = sagemaker.create_training_job(**aws.job("true", Tags=[{"Key": "a", "Value": "1"}]))[
        "TrainingJobArn"
    ]
    sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "a", "Value": "2"}, {"Key": "b", "Value": "3"}])
    assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == [
        {"Key": "a", "Value": "2"},
        {"Key": "b", "Value": "3"},
    ]
    sagemaker.delete_tags(ResourceArn=arn, TagKeys=["a", "nothing"])
    assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "b", "Value": "3"}]
    many = [{"Key": f"k{number}", "Value": ""} for number in range(50)]
    assert refusal(sagemaker.add_tags, ResourceArn=arn, Tags=many)[0] == "ValidationException"
    assert len(sagemaker.list_tags(ResourceArn=arn)["Tags"]) == 1
    assert refusal(sagemaker.list_tags, ResourceArn=arn + "-not")[1] == "Requested resource not found."


def test_operations_that_are_not_there_say_so(sagemaker: Any) -> None:
    assert refusal(sagemaker.list_auto_ml_jobs) == (
        "NotImplemented",
        "The local service has no ListAutoMLJobs.",
    )
