"""What a script's training has left, and what can be done with it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from smexec.core import settings as table
from smexec.core.settings import Settings
from smexec.core.training import Trained
from smexec.core.transform import TransformResult
from smexec.deployment import Deployment, launched, waited
from smexec.endpoint import Endpoint
from smexec.engine.place import Hold, hold
from smexec.future import Future
from smexec.transform import Transform


@dataclass(frozen=True)
class TrainingResult(Trained):
    """What a script's Training Job has left.

    It can be pickled, and outlives its executor; of that it keeps where it ran and as whom.

    :ivar model: the S3 URI of ``model.tar.gz``, which has what was in ``/opt/ml/model``; None: nothing was
    :ivar output: the same of ``output.tar.gz`` and ``/opt/ml/output/data``
    :ivar metrics: the last value of each
    :ivar hyperparameters: those that the script was given, as they are after their way through JSON
    :ivar billable_seconds: None if the service does not tell
    :ivar image_uri: of its container
    """

    settings: Settings = field(default=Settings(), repr=False, compare=False)
    hold: Hold | None = field(default=None, repr=False, compare=False)

    @classmethod
    def of(cls, settings: Settings, trained: Trained) -> TrainingResult:
        """The same with the settings of its job. It keeps the embedded service, which has the model."""
        facts = {row.name: getattr(trained, row.name) for row in dataclasses.fields(trained)}
        return cls(**facts, settings=settings, hold=hold(settings.is_local))

    def deploy(self, **options: Any) -> Endpoint:
        """Put the model into service, and wait until it is.

        Role, session, network, keys and tags are those of the training, and so is the image, unless they are
        given; a training on the embedded local service is served there, whatever ``instance_type`` says.

        :param options: those of :class:`smexec.Deployment`
        :raises smexec.errors.EndpointFailed: it does not come into service; all that was made is deleted
        """
        return waited(Deployment(self, **options).launch(self._around))

    async def adeploy(self, **options: Any) -> Endpoint:
        """The same as :meth:`deploy` for async code. If its task is cancelled, nothing is left behind."""
        return await Deployment(self, **options).launch(self._around)

    def transform(self, input: str, output: str | None = None, **options: Any) -> TransformResult:  # noqa: A002
        """The model's answers to all that lies at ``input``, once they are there.

        :param options: those of :class:`smexec.Transform`; image and the rest as for :meth:`deploy`
        :raises smexec.errors.JobError: its job failed
        """
        future = self._transformed(input, output, options)
        try:
            return future.result()
        except BaseException:
            future.stop()  # unless that is how it ended
            raise

    async def atransform(self, input: str, output: str | None = None, **options: Any) -> TransformResult:  # noqa: A002
        """The same as :meth:`transform` for async code. If its task is cancelled, the job is stopped."""
        return await self._transformed(input, output, options)

    def _transformed(
        self, source: str, output: str | None, options: dict[str, Any]
    ) -> Future[TransformResult]:
        base = self._around
        own = {"instance_type", "instance_count"} & options.keys()
        if not base.is_local:
            base = table.make({name: options[name] for name in own}, {}, base)
        given = {name: value for name, value in options.items() if name not in own}
        return launched(Transform(self, source, output, **given), base)

    @property
    def _around(self) -> Settings:
        """What a training and an endpoint have in common; machines and prices are each one's own."""
        kept: dict[str, Any] = {name: getattr(self.settings, name) for name in _KEPT}
        if self.settings.is_local:
            kept["instance_type"] = self.settings.instance_type
        return dataclasses.replace(Settings(), **kept)

    def __getstate__(self) -> dict[str, Any]:
        """Without what holds connections: another process has its own."""
        return {**self.__dict__, "settings": dataclasses.replace(self.settings, session=None), "hold": None}


_KEPT = (
    "enable_network_isolation", "role", "s3_kms_key", "s3_root_uri", "security_group_ids", "session",
    "subnets", "tags", "volume_kms_key",
)  # fmt: skip
