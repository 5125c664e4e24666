"""``smexec doctor``: what is missing before the first real use, and what to do about it."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import anyio
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from smexec.cli.options import setting
from smexec.core.settings import Settings, make
from smexec.errors import SettingsError

if TYPE_CHECKING:
    from smexec.aws.doctor import Finding

MARKS = {"ok": ("✓", "green"), "missing": ("✗", "bold red"), "unknown": ("?", "yellow")}


def doctor(
    instance_type: Annotated[list[str] | None, setting("instance_type")] = None,
    role: Annotated[str | None, setting("role")] = None,
    image_uri: Annotated[str | None, setting("image_uri")] = None,
    s3_root_uri: Annotated[str | None, setting("s3_root_uri")] = None,
    use_spot_instances: Annotated[bool | None, setting("use_spot_instances")] = None,
    keep_alive_period_in_seconds: Annotated[int | None, setting("keep_alive_period_in_seconds")] = None,
) -> None:
    """Say what is missing before the first real use: credentials, region, role, bucket, image, quota."""
    given = {
        "instance_type": instance_type,
        "role": role,
        "image_uri": image_uri,
        "s3_root_uri": s3_root_uri,
        "use_spot_instances": use_spot_instances,
        "keep_alive_period_in_seconds": keep_alive_period_in_seconds,
    }
    settings = make(given, os.environ)
    if settings.is_local:
        raise SettingsError("the local service needs no doctor: smexec demo shows that it works")
    console = Console()
    with console.status("looking ..."):
        findings = anyio.run(_examine, settings)
    console.print(table(findings, settings))
    if any(finding.state == "missing" for finding in findings):
        raise typer.Exit(1)


async def _examine(settings: Settings) -> list[Finding]:
    from smexec.aws.client import Client
    from smexec.aws.doctor import Patient, examine

    async with Client(settings.session, None) as aws:
        patient = Patient(settings, aws, sys.version_info[:2])
        return [finding async for finding in examine(patient)]


def table(findings: Sequence[Finding], settings: Settings) -> Table:
    """A row for each finding: what was found, and below it what to do."""
    view = Table("", "", title=f"For jobs on {', '.join(settings.instance_type)}", title_justify="left")
    view.add_column("found", overflow="fold")  # ARNs and addresses are there to be copied
    for finding in findings:
        mark, style = MARKS[finding.state]
        text = Text(finding.text)
        if finding.remedy:
            text.append(f"\n→ {finding.remedy}", style="bold")
        view.add_row(Text(mark, style=style), finding.topic, text)
    return view
