from __future__ import annotations

import pytest

from smexec.errors import SettingsError
from smexec.images.reference import Reference, Registry, registries

CHINA = "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn"
GOVERNMENT = "123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com"


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("foo", Reference("", "foo", "latest")),
        ("foo:1.0", Reference("", "foo", "1.0")),
        ("team/foo-bar__baz:a_B", Reference("", "team/foo-bar__baz", "a_B")),
        ("localhost/foo", Reference("localhost", "foo", "latest")),
        ("host:5000/foo:1", Reference("host:5000", "foo", "1")),
        (f"{CHINA}/r/train:2", Reference(CHINA, "r/train", "2")),
    ],
)
def test_what_a_name_says(text: str, reference: Reference) -> None:
    assert Reference.of(text) == reference
    assert Reference.of(str(reference)) == reference


@pytest.mark.parametrize("text", ["", "Foo", "foo:", "foo:a b", "a//b", "foo@sha256:1", "-x", "foo:-x", "a/"])
def test_what_is_no_name(text: str) -> None:
    with pytest.raises(SettingsError, match="no name of an image"):
        Reference.of(text)


def test_registries_of_every_partition() -> None:
    assert Reference.of(f"{CHINA}/foo").ecr == Registry(CHINA, "123456789012", "cn-north-1")
    assert Reference.of(f"{GOVERNMENT}/foo").ecr == Registry(GOVERNMENT, "123456789012", "us-gov-west-1")
    assert Reference.of("ghcr.io/foo").ecr is None
    assert Reference.of("foo").ecr is None


def test_the_registries_that_a_dockerfile_speaks_of() -> None:
    text = f"ARG BASE={CHINA}/base:1\nFROM {GOVERNMENT}/a AS a\nFROM $BASE\nCOPY --from={CHINA}/b /x /x\n"
    assert [registry.host for registry in registries(text)] == [CHINA, GOVERNMENT]
