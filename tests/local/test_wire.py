from __future__ import annotations

import json
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from botocore.parsers import create_parser
from botocore.session import get_session
from multidict import CIMultiDict

from smexec.local.model import ServiceError
from smexec.local.wire import NAMED_ERRORS, Operation, identify, invoked_endpoint, named_error, render_error


def signed(service: str, **headers: str) -> CIMultiDict[str]:
    scope = f"AKIA/20240102/us-east-1/{service}/aws4_request"
    authorization = f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0"
    return CIMultiDict({"Authorization": authorization, **headers})


@pytest.mark.parametrize(
    ("method", "target", "expected"),
    [
        ("GET", "/", "ListBuckets"),
        ("PUT", "/bucket", "CreateBucket"),
        ("HEAD", "/bucket", "HeadBucket"),
        ("HEAD", "/bucket/", "HeadBucket"),
        ("GET", "/bucket", "ListObjects"),
        ("GET", "/bucket?list-type=2&prefix=a%2Fb&encoding-type=url", "ListObjectsV2"),
        ("GET", "/bucket?location", "GetBucketLocation"),
        ("GET", "/bucket?versions", "ListObjectVersions"),
        ("POST", "/bucket?delete", "DeleteObjects"),
        ("PUT", "/bucket/key", "PutObject"),
        ("PUT", "/bucket/a/b%20c?x-id=PutObject", "PutObject"),
        ("GET", "/bucket/key", "GetObject"),
        ("GET", "/bucket/key?versionId=7", "GetObject"),
        ("HEAD", "/bucket/key", "HeadObject"),
        ("DELETE", "/bucket/key", "DeleteObject"),
        ("GET", "/bucket/key?tagging", "GetObjectTagging"),
        ("POST", "/bucket/key?uploads", "CreateMultipartUpload"),
        ("PUT", "/bucket/key?partNumber=1&uploadId=x", "UploadPart"),
        ("POST", "/bucket/key?uploadId=x", "CompleteMultipartUpload"),
        ("DELETE", "/bucket/key?uploadId=x", "AbortMultipartUpload"),
        ("GET", "/bucket/key?uploadId=x", "ListParts"),
    ],
)
def test_s3_operations_are_told_by_method_path_and_query(method: str, target: str, expected: str) -> None:
    assert str(identify(method, target, signed("s3"))) == f"s3.{expected}"


def test_a_header_makes_a_put_a_copy() -> None:
    headers = signed("s3", **{"x-amz-copy-source": "bucket/other"})
    assert identify("PUT", "/bucket/key", headers).name == "CopyObject"
    assert identify("PUT", "/bucket/key?partNumber=1&uploadId=x", headers).name == "UploadPartCopy"


def test_presigned_and_unsigned_requests_are_s3() -> None:
    presigned = (
        "/bucket/key?X-Amz-Credential=AKIA%2F20240102%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Signature=0"
    )
    assert str(identify("GET", presigned, CIMultiDict())) == "s3.GetObject"
    assert str(identify("GET", "/bucket/key", CIMultiDict())) == "s3.GetObject"


def test_json_services_are_told_by_their_target() -> None:
    for target, expected in [
        ("SageMaker.CreateTrainingJob", "sagemaker.CreateTrainingJob"),
        ("Logs_20140328.PutLogEvents", "logs.PutLogEvents"),
        ("AmazonSQS.SendMessage", "sqs.SendMessage"),
        ("AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken", "ecr.GetAuthorizationToken"),
        ("AWSEvents.PutRule", "events.PutRule"),
        ("DynamoDB_20120810.GetItem", "dynamodb_20120810.GetItem"),
    ]:
        operation = identify("POST", "/", signed("any", **{"X-Amz-Target": target}))
        assert (str(operation), operation.protocol) == (expected, "json")


def test_query_services_are_told_by_their_form() -> None:
    form = b"Action=GetCallerIdentity&Version=2011-06-15"
    operation = identify("POST", "/", signed("sts"), form)
    assert (str(operation), operation.protocol) == ("sts.GetCallerIdentity", "query")


def test_other_services_are_told_by_method_and_path() -> None:
    assert str(identify("GET", "/v1/apis?x=1", signed("apigateway"))) == "apigateway.GET /v1/apis"


JSON = Operation("sagemaker", "CreateTrainingJob", "json")
QUERY = Operation("sts", "GetCallerIdentity", "query")
S3 = Operation("s3", "PutObject", "s3")


@pytest.mark.parametrize("operation", [JSON, QUERY, S3], ids=str)
@pytest.mark.parametrize("kind", sorted(NAMED_ERRORS))
def test_botocore_reads_every_error_in_every_protocol(operation: Operation, kind: str) -> None:
    error = named_error(kind, operation, "123456789012")
    body, content_type = render_error(error, operation, "request-7")
    model = get_session().get_service_model(operation.service)
    response = {"body": body, "headers": {"content-type": content_type}, "status_code": error.status}
    shape: Any = model.operation_model(operation.name).output_shape
    parsed = create_parser(model.metadata["protocol"]).parse(response, shape)
    assert (parsed["Error"]["Code"], parsed["Error"]["Message"]) == (error.code, error.message)


def test_throttling_has_the_name_that_each_service_gives_it() -> None:
    codes = [
        (named_error("throttle", operation, "1").code, named_error("throttle", operation, "1").status)
        for operation in (JSON, QUERY, S3)
    ]
    assert codes == [("ThrottlingException", 400), ("Throttling", 400), ("SlowDown", 503)]


def test_a_refusal_names_the_user_and_the_action() -> None:
    message = named_error("denied", JSON, "123456789012").message
    assert "arn:aws:iam::123456789012:user/" in message
    assert message.endswith("is not authorized to perform: sagemaker:CreateTrainingJob")


def test_messages_are_escaped() -> None:
    error = ServiceError("Odd", 'a <b> & "c"')
    body, _ = render_error(error, S3, "r")
    assert ET.fromstring(body).findtext("Message") == error.message
    assert json.loads(render_error(error, JSON, "r")[0])["message"] == error.message


def test_an_invocation_of_an_endpoint_is_the_runtimes() -> None:
    path = "/endpoints/my-endpoint/invocations"
    assert invoked_endpoint(path) == "my-endpoint"
    invocation = Operation("sagemaker-runtime", "InvokeEndpoint", "rest")
    assert identify("POST", path, signed("sagemaker")) == invocation
    assert identify("POST", path, signed("s3")) != invocation
    assert identify("GET", path, signed("sagemaker")) != invocation


def test_an_errors_own_members_are_rendered() -> None:
    error = ServiceError("ModelError", "Received", 424, {"OriginalStatusCode": 500})
    body, _ = render_error(error, Operation("sagemaker-runtime", "InvokeEndpoint", "rest"), "id")
    assert json.loads(body).items() >= {"__type": "ModelError", "OriginalStatusCode": 500}.items()
