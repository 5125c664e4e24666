from __future__ import annotations

import re
from typing import Any

import aioboto3
import boto3
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from smexec.core import checks

ROLE = "arn:aws:iam::123456789012:role/"
MANY = {f"k{number}": "v" for number in range(101)}


class SdkSession:
    """As the SageMaker SDK's is."""

    def __init__(self) -> None:
        self.boto_session = boto3.Session(region_name="eu-west-1")


class Five:
    def __index__(self) -> int:
        return 5


GOOD: list[tuple[checks.Check, Any, Any]] = [
    (checks.text(3), "abc", "abc"),
    (checks.text(3), "é ß", "é ß"),
    (checks.kms_key, "alias/my-key", "alias/my-key"),
    (
        checks.kms_key,
        "arn:aws:kms:eu-west-1:123456789012:key/1-2",
        "arn:aws:kms:eu-west-1:123456789012:key/1-2",
    ),
    (checks.ids(2, "x-1"), ["a-1", "b-2"], ("a-1", "b-2")),
    (checks.ids(2, "x-1"), (), ()),
    (checks.ids(2, "x-1"), (name for name in ["a"]), ("a",)),
    (checks.whole(1, 5), 5, 5),
    (checks.whole(1, 5), np.int64(5), 5),
    (checks.whole(1, 5), Five(), 5),
    (checks.flag, True, True),
    (checks.instance_types, "local", ("local",)),
    (checks.instance_types, "ml.p6-b200.48xlarge", ("ml.p6-b200.48xlarge",)),
    (checks.instance_types, ["ml.m5.large", "ml.c5.large"], ("ml.m5.large", "ml.c5.large")),
    (checks.role, "MyRole", "MyRole"),
    (checks.role, ROLE + "service-role/A_b+c=d,e.f@g-h", ROLE + "service-role/A_b+c=d,e.f@g-h"),
    (checks.role, "arn:aws-us-gov:iam::123456789012:role/r", "arn:aws-us-gov:iam::123456789012:role/r"),
    (checks.s3_uri, "s3://bucket", "s3://bucket"),
    (checks.s3_uri, "s3://my.bucket-1/a/b c/é/", "s3://my.bucket-1/a/b c/é"),
    (checks.job_name_prefix, "my-job-", "my-job-"),
    (checks.job_name_prefix, "a", "a"),
    (checks.environment_variables, {"A": "x", "_b1": 2, "C": 0.5}, (("A", "x"), ("_b1", "2"), ("C", "0.5"))),
    (checks.environment_variables, {"A": "two\nlines", "B": ""}, (("A", "two\nlines"), ("B", ""))),
    (checks.tags, {"a": "b"}, (("a", "b"),)),
    (checks.tags, [("a", "b"), ["c", ""]], (("a", "b"), ("c", ""))),
    (checks.tags, [{"Key": "a", "Value": "b"}], (("a", "b"),)),
    (checks.tags, {"é 1_.:/=+-@": "日本"}, (("é 1_.:/=+-@", "日本"),)),
]
BAD: list[tuple[checks.Check, Any, str]] = [
    (checks.text(3), "", "1 to 3 characters"),
    (checks.text(3), "abcd", "1 to 3 characters"),
    (checks.text(3), b"abc", "1 to 3 characters"),
    (checks.text(9), "a\nb", "no line breaks"),
    (checks.text(9), "a\u2028b", "no line breaks"),
    (checks.kms_key, "my key", "alias/name"),
    (checks.kms_key, "clé", "alias/name"),
    (checks.ids(2, "x-1"), "x-1", "it must be a list"),
    (checks.ids(2, "x-1"), {"x-1": 1}, "it must be a list"),
    (checks.ids(2, "x-1"), 5, "it must be a list"),
    (checks.ids(2, "x-1"), ["a", "b", "c"], "at most 2"),
    (checks.ids(2, "x-1"), ["a_b"], "x-1"),
    (checks.ids(2, "x-1"), ["a" * 33], "32 characters"),
    (checks.whole(1, 5), 0, "from 1 to 5"),
    (checks.whole(1, 5), 6, "from 1 to 5"),
    (checks.whole(0, 5), True, "whole number"),
    (checks.whole(1, 5), 2.0, "whole number"),
    (checks.whole(1, 5), "2", "whole number"),
    (checks.flag, 1, "True or False"),
    (checks.flag, "yes", "True or False"),
    (checks.instance_types, "m5.large", 'did you mean "ml.m5.large"'),
    (checks.instance_types, "ml.m5", "ml.m5.large"),
    (checks.instance_types, "ml.m5.large\n", "ml.m5.large"),
    (checks.instance_types, None, "ml.m5.large"),
    (checks.instance_types, [], "at least"),
    (checks.instance_types, ["ml.m5.large", "m5.large"], 'did you mean "ml.m5.large"'),
    (checks.instance_types, ["ml.m5.large", "ml.m5.large"], "twice"),
    (checks.instance_types, ["local", "ml.m5.large"], "stands alone"),
    (checks.role, "arn:aws:iam::123:role/r", "a role's ARN"),
    (checks.role, ROLE + "é", "a role's ARN"),
    (checks.role, ROLE, "a role's ARN"),
    (checks.role, "arn:aws:iam::١٢٣٤٥٦٧٨٩٠١٢:role/r", "a role's ARN"),
    (checks.role, "a" * 65, "a role's ARN"),
    (checks.s3_uri, "bucket/prefix", "s3://bucket/prefix"),
    (checks.s3_uri, "s3://Bucket", "s3://bucket/prefix"),
    (checks.s3_uri, "s3://b", "s3://bucket/prefix"),
    (checks.s3_uri, "s3://bucket/a\nb", "s3://bucket/prefix"),
    (checks.s3_uri, "s3://bucket/" + "a" * 900, "900 bytes"),
    (checks.s3_uri, "s3://bucket/" + "日" * 300, "900 bytes"),
    (checks.job_name_prefix, "-a", "beginning with a letter"),
    (checks.job_name_prefix, "a_b", "letters, digits and hyphens"),
    (checks.job_name_prefix, "a" * 49, "at most 48"),
    (checks.job_name_prefix, "é", "letters, digits and hyphens"),
    (checks.environment_variables, [("A", "b")], "it must be a mapping"),
    (checks.environment_variables, MANY, "at most 100"),
    (checks.environment_variables, {"1A": "x"}, "is no variable's name"),
    (checks.environment_variables, {"É": "x"}, "is no variable's name"),
    (checks.environment_variables, {1: "x"}, "is no variable's name"),
    (checks.environment_variables, {"A": True}, "not bool"),
    (checks.environment_variables, {"A": None}, "not NoneType"),
    (checks.environment_variables, {"A": "x" * 513}, "513 characters"),
    (checks.tags, MANY, "at most 50"),
    (checks.tags, {"": "x"}, "a key has 1 to 128"),
    (checks.tags, {"a" * 129: "x"}, "a key has 1 to 128"),
    (checks.tags, {"a": "x" * 257}, "at most 256"),
    (checks.tags, {"a": 1}, "both texts"),
    (checks.tags, "ab", "is no tag"),
    (checks.tags, 5, "it must be a mapping"),
    (checks.tags, {"a": "b;c"}, "only letters"),
    (checks.tags, [("a", "1"), ("a", "2")], "the same key"),
    (checks.session, "default", "Session"),
]


@pytest.mark.parametrize(("check", "given", "value"), GOOD)
def test_what_may_be_comes_back_in_its_one_form(check: checks.Check, given: Any, value: Any) -> None:
    checked = check(given)
    assert checked == value
    assert type(checked) is type(value)


@pytest.mark.parametrize(("check", "given", "text"), BAD)
def test_what_may_not_be_is_answered_with_what_may(check: checks.Check, given: Any, text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text)):
        check(given)


@pytest.mark.parametrize("kind", [boto3.Session, aioboto3.Session])
def test_sessions(kind: Any) -> None:
    session = kind(region_name="eu-west-1")
    assert checks.session(session) is session


def test_the_sdks_session_is_taken_for_the_one_in_it() -> None:
    session = SdkSession()
    assert checks.session(session) is session.boto_session


@given(st.integers())
def test_numbers_come_out_of_their_text(number: int) -> None:
    assert checks.from_text(str(number), "int") == number
    assert checks.from_text(f" {number}\n", "int | None") == number


@given(st.text())
@example("0\x1f")
@example("9" * 5000)
def test_text_that_is_no_such_thing_is_left_for_the_check_to_refuse(text: str) -> None:
    number = checks.from_text(text, "int")
    assert number == text or isinstance(number, int)
    flag = checks.from_text(text, "bool")
    assert flag == text or isinstance(flag, bool)
    assert checks.from_text(text, "str | None") == text
