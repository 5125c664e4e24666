"""Every setting once: its name, default, documentation and what it may be.

Signatures, environment variables and the documentation follow from this table. Settings that the SageMaker
SDK's ``@remote`` has keep its names, so that its users change an import and nothing else.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from smexec.core import checks
from smexec.core.checks import Check
from smexec.errors import SettingsError

#: SMEXEC_ROLE gives ``role`` its default, and so on for every setting that is a text, a number or a list of
#: texts (``a,b``).
ENVIRONMENT_PREFIX = "SMEXEC_"


def _setting(default: Any, doc: str, check: Check, *, rival: bool = True, alias: str | None = None) -> Any:
    return field(default=default, metadata={"doc": doc, "check": check, "rival": rival, "alias": alias})


#: Settings that no other job of the service has a member for, those of our worker among them.
OF_TRAINING_JOBS = frozenset(
    {
        "max_retry_attempts",
        "keep_alive_period_in_seconds",
        "use_spot_instances",
        "max_wait_time_in_seconds",
        "disable_output_compression",
        "calls_per_job",
        "slots",
        "gpus_per_call",
        "timeout_per_call",
    }
)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a job is started with. Made by :func:`make`, which checks every value."""

    instance_type: tuple[str, ...] = _setting(
        ("ml.m5.large",),
        'The machine, such as "ml.m5.24xlarge", or a list: where one cannot be had, the next is tried. '
        '"local" runs on the embedded local service, with its role, bucket and credentials, whatever the '
        "other settings say.",
        checks.instance_types,
    )
    role: str | None = _setting(
        None,
        "The IAM role that jobs run as: an ARN, or the name of a role in this account. Default: the caller's "
        "own role, which inside SageMaker is the execution role.",
        checks.role,
    )
    image_uri: str | None = _setting(
        None,
        "The container image. For functions it needs Python of the client's major.minor, as `python` on its "
        "PATH, and nothing else. Default: the stock image for region and Python. "
        'With instance_type="local" also a directory that `smexec image init` has written.',
        checks.image,
    )
    s3_root_uri: str | None = _setting(
        None,
        "Where everything that travels is kept: s3://bucket/prefix. Default: "
        "s3://sagemaker-{region}-{account}/smexec; that bucket is created if it is missing.",
        checks.s3_uri,
    )
    session: Any = _setting(  # noqa: RUF009  # a field, as the others are; Any hides it from the rule
        None,
        "A boto3, aioboto3 or SageMaker SDK session: region, profile and credentials are taken from it.",
        checks.session,
        alias="sagemaker_session",
    )
    instance_count: int = _setting(
        1,
        "Instances of one job, which divide its calls; `slots` and `gpus_per_call` are for each.",
        checks.whole(1, 100),  # the model has no limit; older kernels let 128 hosts wait for the first
    )
    job_name_prefix: str | None = _setting(
        None,
        "How job names begin. Default: smexec- and the function's name.",
        checks.job_name_prefix,
    )
    volume_size: int = _setting(30, "GB of storage for each instance.", checks.whole(1, 16384))
    max_runtime_in_seconds: int = _setting(
        86400, "A job is stopped after this many seconds; at most 28 days.", checks.whole(1, checks.LONGEST)
    )
    max_retry_attempts: int | None = _setting(
        None,
        "How often the service starts a job again after an InternalServerError, 1 to 30. Default: it does "
        "not, and calls that have no outcome run once more, in another job.",
        checks.whole(1, 30),
    )
    keep_alive_period_in_seconds: int = _setting(
        0,
        "Seconds that instances stay warm for the next job (billed), up to 21600; 0: not at all.",
        checks.whole(0, 21600),
    )
    environment_variables: tuple[tuple[str, str], ...] = _setting(
        (),
        'Environment variables of the container: {"NAME": "value"}, at most 100.',
        checks.environment_variables,
    )
    tags: tuple[tuple[str, str], ...] = _setting(
        (),
        'Tags of the jobs: {"team": "risk"}, or pairs, or the API\'s list of Key and Value; at most 50.',
        checks.tags,
    )
    subnets: tuple[str, ...] = _setting(
        (),
        "Subnets (at most 16) that the containers run in; with security_group_ids.",
        checks.ids(16, "subnet-0a1b2c3d"),
    )
    security_group_ids: tuple[str, ...] = _setting(
        (), "Security groups (at most 5) of the containers; with subnets.", checks.ids(5, "sg-0a1b2c3d")
    )
    s3_kms_key: str | None = _setting(
        None, "The KMS key that everything in S3 is encrypted with.", checks.kms_key
    )
    volume_kms_key: str | None = _setting(
        None, "The KMS key that the instances' volumes are encrypted with.", checks.kms_key
    )
    use_spot_instances: bool = _setting(
        False, "Use spot capacity: cheaper, and it can be taken away.", checks.flag
    )
    max_wait_time_in_seconds: int | None = _setting(
        None,
        "Spot only: seconds to wait for capacity and run, together; at least max_runtime_in_seconds, which "
        "is the default.",
        checks.whole(1, checks.LONGEST),
    )
    encrypt_inter_container_traffic: bool = _setting(
        False, "Encrypt what the instances of one job send each other.", checks.flag
    )
    disable_output_compression: bool = _setting(
        False, "Leave /opt/ml/model and /opt/ml/output/data in S3 as files, not as tar.gz.", checks.flag
    )
    enable_network_isolation: bool = _setting(
        False,
        "The container reaches no network, S3 neither; outcomes then come when the job has ended.",
        checks.flag,
        rival=False,
    )

    calls_per_job: int = _setting(
        1,
        "Most calls of submit() that may share a job; those of map() are packed by its chunksize.",
        checks.whole(1, 10_000),
        rival=False,
    )
    slots: int | None = _setting(
        None,
        "Calls that run at a time in a job. Default: one for each vCPU.",
        checks.whole(1, 1024),
        rival=False,
    )
    gpus_per_call: int = _setting(
        0,
        "GPUs that each call sees (CUDA_VISIBLE_DEVICES): so many calls run at a time. 0: each sees all.",
        checks.whole(0, 64),
        rival=False,
    )
    timeout_per_call: float | None = _setting(
        None,
        "Seconds that a call may take; then its process is killed, its neighbours' are not.",
        checks.seconds,
        rival=False,
    )

    @property
    def is_local(self) -> bool:
        """Whether jobs run on the embedded local service."""
        return self.instance_type == (checks.LOCAL,)


@dataclass(frozen=True)
class Setting:
    """A row of the table.

    :ivar rival: whether the SageMaker SDK's ``@remote`` has it under this name, or the alias
    """

    name: str
    type: str
    default: Any
    doc: str
    check: Check
    rival: bool
    alias: str | None


SETTINGS: dict[str, Setting] = {
    row.name: Setting(name=row.name, type=str(row.type), default=row.default, **row.metadata)
    for row in dataclasses.fields(Settings)
}
_BY_ALIAS = {row.alias: row.name for row in SETTINGS.values() if row.alias}


def make(given: Mapping[str, Any], environ: Mapping[str, str], base: Settings | None = None) -> Settings:
    """Settings from arguments, then ``SMEXEC_*`` variables, then the defaults.

    :param given: by name; None means "not given"
    :param base: what was made before, to which ``given`` is a change: it stands for variables and defaults
    :raises SettingsError: a name is misspelt (the text lists near ones), a value is not what the setting
        takes, or two contradict each other
    """
    values: dict[str, Any] = {}
    for name, value in given.items():
        row = _row(name)
        if row.name in values and value is not None:
            raise SettingsError(f"{row.alias} is another name of {row.name}: give one of them")
        if value is not None:
            values[row.name] = _checked(row, value, name)
    fallback = {} if base else _from_environment(environ)
    settings = dataclasses.replace(base or Settings(), **{**fallback, **values})
    _check_together(settings)
    return settings


def _row(name: str) -> Setting:
    try:
        return SETTINGS[_BY_ALIAS.get(name, name)]
    except KeyError:
        raise SettingsError(_misspelt(name, [*SETTINGS, *_BY_ALIAS])) from None


def _misspelt(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(SETTINGS)}"
    return f"no setting is called {name!r}; {hint}"


def _checked(row: Setting, value: Any, called: str) -> Any:
    try:
        return row.check(value)
    except ValueError as error:
        raise SettingsError(f"{called}={value!r}: {error}") from None


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    values = {}
    for name, row in SETTINGS.items():
        variable = ENVIRONMENT_PREFIX + name.upper()
        if environ.get(variable) and row.type in checks.FROM_TEXT:
            values[name] = _checked(row, checks.from_text(environ[variable], row.type), variable)
    return values


def _check_together(settings: Settings) -> None:
    if bool(settings.subnets) != bool(settings.security_group_ids):
        raise SettingsError("subnets and security_group_ids go together: give both, or neither")
    wait = settings.max_wait_time_in_seconds
    if wait is not None and not settings.use_spot_instances:
        raise SettingsError("max_wait_time_in_seconds is for spot: give use_spot_instances=True too")
    if wait is not None and wait < settings.max_runtime_in_seconds:
        raise SettingsError(
            f"max_wait_time_in_seconds={wait} is less than "
            f"max_runtime_in_seconds={settings.max_runtime_in_seconds}: it must be at least as long"
        )
    if settings.use_spot_instances and settings.keep_alive_period_in_seconds:
        raise SettingsError(
            "keep_alive_period_in_seconds does not go with use_spot_instances: AWS keeps no spot pool"
        )
