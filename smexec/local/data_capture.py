"""What DataCaptureConfig asks for: requests and answers of an endpoint, as lines of JSON in S3.

Layout and lines as in the Developer Guide ("Capture data from real-time endpoint"); the real service takes
minutes to write them.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import random
import time
import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from smexec.local.layout import JobFailure
from smexec.local.transfer import Location, Storage, failing_as

FLUSH_SECONDS = 0.5
"""From a request to the object that holds it and all that follow until then."""

_log = logging.getLogger("smexec.local")


class Payload(NamedTuple):
    """A body, and what it says that it is."""

    content_type: str
    content: bytes


@dataclass(frozen=True)
class Exchange:
    """A request that was answered.

    Attributes:
        at: epoch seconds.
        metadata: members of the record's eventMetadata that only some requests have.
    """

    variant: str
    sent: Payload
    answered: Payload
    at: float
    metadata: Mapping[str, Any]


class Capture:
    """Writes what an endpoint is asked and answers; ``directory`` is for temporary files."""

    def __init__(self, settings: Mapping[str, Any], endpoint: str, storage: Storage, directory: Path) -> None:
        self._settings = settings
        self._to = Location.of(settings["DestinationS3Uri"]) / endpoint
        self._storage = storage
        self._directory = directory
        self._waiting: list[Exchange] = []
        self._writing: asyncio.Task[None] | None = None

    def take(self, exchange: Exchange) -> None:
        """Write it soon, if it is in the sample."""
        if random.random() * 100 >= self._settings["InitialSamplingPercentage"]:
            return
        self._waiting.append(exchange)
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write())

    async def close(self) -> None:
        """Until all that was taken is written."""
        if self._writing:
            await self._writing

    async def _write(self) -> None:
        while self._waiting:
            await asyncio.sleep(FLUSH_SECONDS)
            await self._flush()

    async def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        for key, exchanges in by_key(waiting).items():
            file = self._directory / f"{uuid.uuid4()}.jsonl"
            file.write_text("".join(line(one, self._settings) for one in exchanges), encoding="utf-8")
            try:
                with failing_as(f"data capture to {self._to / key}"):
                    await self._storage.upload(file, self._to / key)
            except JobFailure as failure:
                _log.warning("%s", failure)
            file.unlink()


def settings_of(config: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The DataCaptureConfig of an endpoint configuration, if it captures anything."""
    settings: Mapping[str, Any] | None = config.get("DataCaptureConfig")
    return settings if settings and settings.get("EnableCapture", True) else None


def by_key(exchanges: Sequence[Exchange]) -> dict[str, list[Exchange]]:
    """The exchanges by the object that holds them: one for each variant and hour."""
    hours: dict[tuple[str, str], list[Exchange]] = defaultdict(list)
    for one in exchanges:
        hours[one.variant, time.strftime("%Y/%m/%d/%H", time.gmtime(one.at))].append(one)
    return {f"{variant}/{hour}/{_file_name(found[0].at)}": found for (variant, hour), found in hours.items()}


def _file_name(at: float) -> str:
    """Minute, second, millisecond, and what makes it unique."""
    return f"{time.strftime('%M-%S', time.gmtime(at))}-{int(at * 1000) % 1000:03}-{uuid.uuid4()}.jsonl"


def line(exchange: Exchange, settings: Mapping[str, Any]) -> str:
    """One line of a file."""
    modes = {option["CaptureMode"] for option in settings["CaptureOptions"]}
    both = {"endpointInput": ("Input", exchange.sent), "endpointOutput": ("Output", exchange.answered)}
    data = {
        name: _captured(mode, payload, settings.get("CaptureContentTypeHeader", {}))
        for name, (mode, payload) in both.items()
        if modes & {mode, "InputAndOutput"}
    }
    metadata = {
        "eventId": str(uuid.uuid4()),
        **exchange.metadata,
        "inferenceTime": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(exchange.at)),
    }
    return json.dumps({"captureData": data, "eventMetadata": metadata, "eventVersion": "0"}) + "\n"


def _captured(mode: str, payload: Payload, types: Mapping[str, Sequence[str]]) -> dict[str, str]:
    data, encoding = _encoded(payload, types)
    return {
        "observedContentType": payload.content_type,
        "mode": mode.upper(),
        "data": data,
        "encoding": encoding,
    }


def _encoded(payload: Payload, types: Mapping[str, Sequence[str]]) -> tuple[str, str]:
    """Text of the types that are named to be text; all else in base64."""
    plain_type = payload.content_type.partition(";")[0].strip()
    for encoding, member in (("CSV", "CsvContentTypes"), ("JSON", "JsonContentTypes")):
        if plain_type in types.get(member, ()):
            return payload.content.decode("utf-8", "replace"), encoding
    return base64.b64encode(payload.content).decode(), "BASE64"
