"""One job's life, from Starting to its end."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from smexec.local.config import ServiceConfig
from smexec.local.jobs import TrainingJob
from smexec.local.limits import WarmPools


@dataclass
class Platform:
    """What a job's run needs of the service.

    Attributes:
        config: the settings; the live ones may change at any time.
        directory: scratch space, removed when the service ends.
        endpoint_url: the service's own address, for the job's container.
        moto_url: the address behind it, for the platform's own downloads and uploads: not counted, no faults.
        warm_pools: the instances that ended jobs have left.
    """

    config: ServiceConfig
    directory: Path
    endpoint_url: str
    moto_url: str
    warm_pools: WarmPools


async def run_job(job: TrainingJob, platform: Platform) -> None:
    """Run a job from its creation to its end."""
    job.fail("InternalServerError: this build of the local service has no engine yet")
