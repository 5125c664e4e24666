"""What a training job's life has beyond that of other jobs: warm pools and artifacts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from smexec.local.layout import hosts_of
from smexec.local.run import Run
from smexec.local.training import TrainingJob
from smexec.local.training_host import TrainingHost
from smexec.local.transfer import upload_artifacts


class TrainingRun(Run[TrainingJob]):
    """One training job on its way."""

    def hosts(self, directory: Path) -> list[TrainingHost]:
        """See :class:`Run`."""
        return [
            TrainingHost(self.job, host, directory / host.name, self._platform.around)
            for host in hosts_of(self.job.resources)
        ]

    def take_warm(self) -> bool:
        """See :class:`Run`."""
        return self._platform.warm_pools.take(self.job, self.job.clock()) is not None

    async def keep(self, hosts: Sequence[TrainingHost], directory: Path) -> None:
        """See :class:`Run`."""
        made = {
            "model": [host.layout.model for host in hosts],
            "output": [host.layout.output_data for host in hosts],
        }
        output = self.job.request["OutputDataConfig"]
        await upload_artifacts(self._platform.around.storage, output, self.job.name, made, directory)
