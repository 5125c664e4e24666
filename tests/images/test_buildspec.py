from __future__ import annotations

import json
import shlex
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smexec.images.buildspec import Network, buildspec, failed_phase, larger, project
from smexec.images.reference import Registry

CHINA = Registry("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", "123456789012", "cn-north-1")


def phases(*flags: str, cache: str | None = None) -> dict[str, Any]:
    text = buildspec(f"{CHINA.host}/foo:1", "Dockerfile", flags, [CHINA], cache)
    found: dict[str, Any] = json.loads(text)["phases"]
    return found


def test_a_phase_that_fails_ends_the_build() -> None:
    assert {phase["on-failure"] for phase in phases().values()} == {"ABORT"}


def test_the_registry_is_that_of_the_partition() -> None:
    login = phases()["pre_build"]["commands"][0]
    assert login.startswith("aws ecr get-login-password --region cn-north-1 | docker login ")
    assert login.endswith(f" {CHINA.host}")
    assert phases()["post_build"]["commands"] == [f"docker push {CHINA.host}/foo:1"]


@given(st.lists(st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), min_size=1)))
def test_flags_arrive_as_they_were_given(flags: list[str]) -> None:
    (command,) = phases(*flags)["build"]["commands"]
    words = shlex.split(command)
    assert words[: words.index("--file")] == ["docker", "build", "--tag", f"{CHINA.host}/foo:1"]
    assert words[-1 - len(flags) :] == [*flags, "context"]


def test_layers_of_the_last_image_are_used_again() -> None:
    assert "--cache-from" not in phases()["build"]["commands"][0]
    assert " --cache-from there:2 " in phases(cache="there:2")["build"]["commands"][0]


def test_a_network_of_the_users() -> None:
    network = Network("v", ("s",), ("g",))
    request = project("p", "bucket/key", "{}", "arn:role", "BUILD_GENERAL1_LARGE", network)
    assert request["vpcConfig"] == {"vpcId": "v", "subnets": ["s"], "securityGroupIds": ["g"]}
    assert "vpcConfig" not in project("p", "b/k", "{}", "arn:role", "BUILD_GENERAL1_LARGE", Network())


@pytest.mark.parametrize(
    ("compute_type", "next_one"),
    [
        ("BUILD_GENERAL1_SMALL", "BUILD_GENERAL1_MEDIUM"),
        ("BUILD_GENERAL1_2XLARGE", None),
        ("BUILD_LAMBDA_1GB", None),
    ],
)
def test_the_next_larger_machine(compute_type: str, next_one: str | None) -> None:
    assert larger(compute_type) == next_one


def test_the_phase_that_failed() -> None:
    done = {"phaseType": "PRE_BUILD", "phaseStatus": "SUCCEEDED"}
    failed = {"phaseType": "BUILD", "phaseStatus": "FAILED", "contexts": [{"message": "exit status 1"}]}
    assert failed_phase({"phases": [done, failed]}) == "BUILD: exit status 1"
    assert failed_phase({"phases": [done, {"phaseType": "BUILD"}]}) is None
