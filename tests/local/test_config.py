from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smexec.local.config import ServiceConfig, add_arguments, from_arguments, to_arguments


def parsed(*arguments: str) -> ServiceConfig:
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_arguments(parser)
    return from_arguments(parser.parse_args(arguments))


def test_nothing_given_is_the_default() -> None:
    assert parsed() == ServiceConfig()


def test_every_setting_has_an_option_and_a_meaning() -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    options = {option for action in parser._actions for option in action.option_strings if action.help}
    for setting in dataclasses.fields(ServiceConfig):
        assert "--" + setting.name.replace("_", "-") in options


def test_mappings_take_pairs() -> None:
    config = parsed("--rates", "CreateTrainingJob=0.5", "--rates=s3.PutObject=100", "--quotas=ml.m5.large=3")
    assert config.rates == {"CreateTrainingJob": 0.5, "s3.PutObject": 100.0}
    assert config.quotas == {"ml.m5.large": 3}


@pytest.mark.parametrize(
    "arguments", [["--rates", "x"], ["--rates", "=1"], ["--quotas", "a=b"], ["--engine", "vm"]]
)
def test_what_cannot_be_read_is_refused(arguments: list[str]) -> None:
    with pytest.raises(argparse.ArgumentError):
        parsed(*arguments)


def test_a_realistic_account_can_be_changed_in_part() -> None:
    config = parsed("--realistic", "--quotas=ml.p4d.24xlarge=1", "--cold-start=0")
    assert config.rates["ListTrainingJobs"] == 2.0
    assert (config.quotas["ml.p4d.24xlarge"], config.quotas["*"], config.quotas["ml.m5.large"]) == (1, 0, 30)
    assert (config.cold_start, config.warm_start) == (0.0, 20.0)
    assert ServiceConfig.realistic(cold_start=1.0).cold_start == 1.0


NAMES = st.text(st.characters(categories=["L", "N"], include_characters=".*-="), min_size=1)


@given(
    st.builds(
        ServiceConfig,
        port=st.integers(0, 65535),
        engine=st.sampled_from(["process", "podman", "docker"]),
        rates=st.dictionaries(NAMES, st.floats(0, 1e6)),
        quotas=st.dictionaries(NAMES, st.integers(-1, 1000)),
        cold_start=st.floats(0, 1000),
        lease_grace=st.none() | st.floats(0, 1000),
    )
)
def test_a_command_line_carries_every_setting(config: ServiceConfig) -> None:
    assert parsed(*to_arguments(config)) == config


def test_live_settings_are_merged() -> None:
    config = ServiceConfig(quotas={"a": 1, "b": 2}, stop_grace=5.0)
    config.configure({"quotas": {"b": None, "c": 3}, "stop_grace": 1, "release_delay": 2.5})
    assert config.quotas == {"a": 1, "c": 3}
    assert (config.stop_grace, config.release_delay) == (1.0, 2.5)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"port": 1}, ValueError),
        ({"qoutas": {}}, ValueError),
        ({"quotas": 3}, TypeError),
        ({"quotas": {"a": "3"}}, TypeError),
        ({"quotas": {"a": True}}, TypeError),
        ({"quotas": {"a": 1.5}}, ValueError),
        ({"rates": {"a": float("nan")}}, ValueError),
        ({"stop_grace": "1"}, TypeError),
    ],
)
def test_a_wrong_change_changes_nothing(changes: dict[str, Any], expected: type[Exception]) -> None:
    config = ServiceConfig(quotas={"a": 1})
    with pytest.raises(expected):
        config.configure({"stop_grace": 7.0, **changes})
    assert config == ServiceConfig(quotas={"a": 1})


@pytest.mark.parametrize("settings", [{"engine": "vm"}, {"quotas": {"a": 0.5}}, {"rates": {"a": "fast"}}])
def test_a_configuration_that_cannot_be_is_not_made(settings: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError)):
        ServiceConfig(**settings)


def test_the_directory_of_an_image_may_hold_an_equals_sign() -> None:
    config = ServiceConfig(image={"r:1": "/home/a=b/r"})
    assert parsed(*to_arguments(config)) == config


def test_the_directory_of_an_image_is_a_string() -> None:
    with pytest.raises(TypeError, match="image takes strings, not 1"):
        ServiceConfig().configure({"image": {"r:1": 1}})


def test_directories_of_images_are_found_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert parsed("--image", "r=image").image == {"r": str(tmp_path / "image")}
