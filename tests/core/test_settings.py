from __future__ import annotations

import contextlib
import dataclasses
from typing import Any

import boto3
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smexec.core import checks
from smexec.core.settings import ENVIRONMENT_PREFIX, SETTINGS, Settings, make
from smexec.errors import SettingsError

# The settings of the SageMaker SDK's @remote that are a field of the request, with its defaults; but for
# max_retry_attempts, which is 1 there: the client knows which calls have no outcome, the service does not.
RIVAL = {
    "instance_count": 1,
    "image_uri": None,
    "job_name_prefix": None,
    "keep_alive_period_in_seconds": 0,
    "max_retry_attempts": None,
    "max_runtime_in_seconds": 86400,
    "role": None,
    "s3_kms_key": None,
    "s3_root_uri": None,
    "volume_kms_key": None,
    "volume_size": 30,
    "encrypt_inter_container_traffic": False,
    "use_spot_instances": False,
    "max_wait_time_in_seconds": None,
    "disable_output_compression": False,
    "environment_variables": (),
    "tags": (),
    "subnets": (),
    "security_group_ids": (),
}


def made(**given: Any) -> Settings:
    return make(given, {})


def refusal(**given: Any) -> str:
    with pytest.raises(SettingsError) as caught:
        made(**given)
    return str(caught.value)


# -- the table -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RIVAL)
def test_the_rivals_settings_have_their_names_and_defaults(name: str) -> None:
    assert SETTINGS[name].rival
    assert getattr(made(), name) == RIVAL[name] == SETTINGS[name].default


def test_what_the_rival_has_not_says_so() -> None:
    assert [row.name for row in SETTINGS.values() if not row.rival] == [
        "enable_network_isolation",
        "calls_per_job",
        "slots",
        "gpus_per_call",
        "timeout_per_call",
    ]


def test_the_rivals_name_for_the_session() -> None:
    session = boto3.Session(region_name="eu-west-1")
    assert made(sagemaker_session=session).session is session
    assert "sagemaker_session is another name of session" in refusal(
        session=session, sagemaker_session=session
    )


@pytest.mark.parametrize("row", SETTINGS.values(), ids=lambda row: row.name)
def test_every_setting_is_documented_and_its_default_is_valid(row: Any) -> None:
    assert row.doc.endswith(".")
    if row.default not in (None, ()):
        assert row.check(row.default) == row.default
    assert row.check is not None


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        made().role = "x"  # type: ignore[misc]


# -- names ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "near"),
    [
        ("instance_typ", "instance_type"),
        ("instancetype", "instance_type"),
        ("max_runtime", "max_runtime_in_seconds"),
        ("enviroment_variables", "environment_variables"),
        ("security_groups_ids", "security_group_ids"),
        ("sagemaker_sesion", "sagemaker_session"),
        ("image", "image_uri"),
    ],
)
def test_a_misspelt_name_is_answered_with_near_ones(wrong: str, near: str) -> None:
    text = refusal(**{wrong: None})
    assert f"no setting is called {wrong!r}; did you mean " in text
    assert near in text


def test_a_name_that_is_near_to_none_is_answered_with_all() -> None:
    text = refusal(zzz=1)
    assert all(name in text for name in SETTINGS)


# -- where values come from ----------------------------------------------------------------------------------


def test_arguments_come_before_the_environment_and_that_before_the_defaults() -> None:
    environ = {"SMEXEC_VOLUME_SIZE": "50", "SMEXEC_MAX_RETRY_ATTEMPTS": "3", "SMEXEC_UNKNOWN": "x"}
    settings = make({"volume_size": 70, "max_retry_attempts": None}, environ)
    assert (settings.volume_size, settings.max_retry_attempts, settings.max_runtime_in_seconds) == (
        70,
        3,
        86400,
    )


def test_a_change_leaves_the_rest_and_does_not_look_at_the_environment() -> None:
    base = make({"volume_size": 70}, {"SMEXEC_MAX_RETRY_ATTEMPTS": "3"})
    changed = make({"instance_type": "ml.c5.xlarge"}, {"SMEXEC_VOLUME_SIZE": "9"}, base)
    assert changed == dataclasses.replace(base, instance_type=("ml.c5.xlarge",))


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("role", "MyRole", "MyRole"),
        ("instance_type", "local", ("local",)),
        ("instance_type", "ml.p5.48xlarge, ml.p4d.24xlarge", ("ml.p5.48xlarge", "ml.p4d.24xlarge")),
        ("volume_size", " 50 ", 50),
        ("max_wait_time_in_seconds", "90000", 90000),
        ("use_spot_instances", "true", True),
        ("use_spot_instances", "No", False),
        ("enable_network_isolation", "1", True),
        ("disable_output_compression", "0", False),
        ("timeout_per_call", "2.5", 2.5),
    ],
)
def test_variables(name: str, text: str, value: Any) -> None:
    environ = {ENVIRONMENT_PREFIX + name.upper(): text, "SMEXEC_USE_SPOT_INSTANCES": "yes"}
    environ[ENVIRONMENT_PREFIX + name.upper()] = text
    assert getattr(make({}, environ), name) == value


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("SMEXEC_VOLUME_SIZE", "many"),
        ("SMEXEC_VOLUME_SIZE", "--5"),
        ("SMEXEC_VOLUME_SIZE", "²"),
        ("SMEXEC_VOLUME_SIZE", "0"),
        ("SMEXEC_VOLUME_SIZE", "5.5"),
        ("SMEXEC_USE_SPOT_INSTANCES", "maybe"),
        ("SMEXEC_ROLE", "no role!"),
        ("SMEXEC_TIMEOUT_PER_CALL", "0"),
        ("SMEXEC_TIMEOUT_PER_CALL", "inf"),
        ("SMEXEC_TIMEOUT_PER_CALL", "nan"),
        ("SMEXEC_TIMEOUT_PER_CALL", "2419200.5"),
    ],
)
def test_a_variable_that_is_wrong_is_named(variable: str, text: str) -> None:
    with pytest.raises(SettingsError, match=f"^{variable}="):
        make({}, {variable: text})


def test_every_setting_that_a_text_can_say_has_a_variable() -> None:
    left_out = {row.type for row in SETTINGS.values()} - checks.FROM_TEXT
    assert left_out == {"tuple[tuple[str, str], ...]", "Any"}  # pairs, and sessions


def test_an_empty_variable_is_none() -> None:
    assert make({}, {"SMEXEC_ROLE": "", "SMEXEC_VOLUME_SIZE": ""}) == Settings()


@given(st.sampled_from(sorted(SETTINGS)), st.text())
def test_no_text_in_the_environment_is_anything_but_a_settings_error(name: str, text: str) -> None:
    with contextlib.suppress(SettingsError):
        make({}, {ENVIRONMENT_PREFIX + name.upper(): text})


anything: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.builds(object),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(), inner, max_size=3)
        | st.tuples(inner, inner)
        | st.sets(st.text(), max_size=3)
    ),
    max_leaves=5,
)


@given(st.sampled_from(sorted(SETTINGS)), anything)
def test_no_value_is_anything_but_a_settings_error(name: str, value: Any) -> None:
    with contextlib.suppress(SettingsError):
        made(**{name: value})


# -- settings that go together -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"subnets": ["subnet-1"]}, "subnets and security_group_ids go together"),
        ({"security_group_ids": ["sg-1"]}, "subnets and security_group_ids go together"),
        ({"max_wait_time_in_seconds": 90000}, "give use_spot_instances=True too"),
        (
            {"max_wait_time_in_seconds": 60, "use_spot_instances": True},
            "max_wait_time_in_seconds=60 is less than max_runtime_in_seconds=86400",
        ),
        ({"use_spot_instances": True, "keep_alive_period_in_seconds": 60}, "AWS keeps no spot pool"),
    ],
)
def test_contradictions(given: dict[str, Any], text: str) -> None:
    assert text in refusal(**given)


def test_a_change_is_checked_together_with_what_it_changes() -> None:
    base = made(use_spot_instances=True, max_wait_time_in_seconds=90000)
    with pytest.raises(SettingsError, match="at least as long"):
        make({"max_runtime_in_seconds": 100_000}, {}, base)


def test_local() -> None:
    assert made(instance_type="local").is_local
    assert not made().is_local
