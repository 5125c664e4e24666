"""What a processing job leaves: its outputs and its exit message."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from smexec.local.layout import hosts_of
from smexec.local.processing import ProcessingJob
from smexec.local.processing_host import ProcessingHost
from smexec.local.run import Run
from smexec.local.transfer import Location, failing_as, upload_tree


class ProcessingRun(Run[ProcessingJob]):
    """One processing job on its way."""

    def hosts(self, directory: Path) -> list[ProcessingHost]:
        """See :class:`Run`."""
        return [
            ProcessingHost(self.job, host, directory / host.name, self._platform.around)
            for host in hosts_of(self.job.resources)
        ]

    async def keep(self, hosts: Sequence[ProcessingHost], directory: Path) -> None:  # noqa: ARG002  (no archives)
        """See :class:`Run`."""
        self.job.exit_message = next(filter(None, (host.message() for host in hosts)), None)
        with failing_as("ClientError: Output upload failed"):
            for output in (one["S3Output"] for one in self.job.outputs):
                if output["S3UploadMode"] == "EndOfJob":
                    places = [host.layout.place(output["LocalPath"]) for host in hosts]
                    storage = self._platform.around.storage
                    await upload_tree(storage, places, Location.of(output["S3Uri"]))
