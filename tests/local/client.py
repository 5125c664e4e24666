"""boto3 and the control API in the words of the tests; those of one kind of resource add their own."""

from __future__ import annotations

import io
import itertools
import tarfile
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from tests.local.conftest import ServiceProcess

NUMBERS = itertools.count()


class Client:
    """For a service that tests share, and whose AWS clients they share, since those take long to make."""

    def __init__(self, service: ServiceProcess) -> None:
        self.service = service
        self.bucket: str = service.info["bucket"]
        self.role: str = service.info["role"]
        self.sagemaker, self.s3, self.logs = map(service.shared_client, ("sagemaker", "s3", "logs"))

    def put(self, **objects: str) -> str:
        """Objects under a prefix of their own; its URI."""
        prefix = f"input-{next(NUMBERS)}"
        for name, content in objects.items():
            self.s3.put_object(Bucket=self.bucket, Key=f"{prefix}/{name}", Body=content.encode())
        return f"s3://{self.bucket}/{prefix}/"

    def stored(self, uri: str) -> dict[str, bytes]:
        """The objects below a URI, by what follows it."""
        bucket, _, prefix = uri.removeprefix("s3://").partition("/")
        listed = self.s3.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", ())
        keys = [item["Key"] for item in listed]
        return {
            key.removeprefix(prefix): self.s3.get_object(Bucket=bucket, Key=key)["Body"].read()
            for key in keys
        }

    def logged(self, group: str, stream: str = "") -> list[str]:
        """The lines of the streams whose names begin like that, one after the other."""
        names = {"logGroupName": group, **({"logStreamNamePrefix": stream} if stream else {})}
        streams = [one["logStreamName"] for one in self.logs.describe_log_streams(**names)["logStreams"]]
        group_of = {"logGroupName": group, "startFromHead": True}
        return [
            event["message"]
            for name in sorted(streams)
            for event in self.logs.get_log_events(**group_of, logStreamName=name)["events"]
        ]

    def refused(self, operation: Any, *arguments: Any, **members: Any) -> Any:
        """The error that a request gets."""
        with pytest.raises(ClientError) as caught:
            operation(*arguments, **members)
        return caught.value

    def model(self, content: str = "iris", *, isolated: bool = False, **changes: Any) -> str:
        """A model of the image ``server:1`` whose archive holds that text; its name."""
        name = f"model-{next(NUMBERS)}"
        self.s3.put_object(Bucket=self.bucket, Key=f"{name}/model.tar.gz", Body=archive(content))
        url = f"s3://{self.bucket}/{name}/model.tar.gz"
        self.sagemaker.create_model(
            ModelName=name,
            PrimaryContainer={"Image": "server:1", "ModelDataUrl": url, **changes},
            ExecutionRoleArn=self.role,
            EnableNetworkIsolation=isolated,
        )
        return name


def archive(content: str) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        member = tarfile.TarInfo("model.txt")
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content.encode()))
    return packed.getvalue()
