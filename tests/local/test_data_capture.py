"""What of a request and its answer is captured, and where; pure."""

from __future__ import annotations

import base64
import calendar
import json
from typing import Any

import pytest

from smexec.local.data_capture import Exchange, Payload, by_key, line, settings_of

NOON = float(calendar.timegm((2026, 3, 9, 12, 59, 58))) + 0.25
TYPES = {"CsvContentTypes": ["text/csv"], "JsonContentTypes": ["application/json"]}


def exchange(content_type: str = "text/csv", content: bytes = b"1", **changes: Any) -> Exchange:
    payload = Payload(content_type, content)
    members = {"variant": "v", "sent": payload, "answered": payload, "at": NOON, "metadata": {}}
    return Exchange(**{**members, **changes})


def captured(one: Exchange, *modes: str, types: Any = TYPES) -> Any:
    options = [{"CaptureMode": mode} for mode in modes]
    return json.loads(line(one, {"CaptureOptions": options, "CaptureContentTypeHeader": types}))


@pytest.mark.parametrize(
    ("modes", "members"),
    [
        (["Input"], ["endpointInput"]),
        (["Output"], ["endpointOutput"]),
        (["Input", "Output"], ["endpointInput", "endpointOutput"]),
        (["InputAndOutput"], ["endpointInput", "endpointOutput"]),
    ],
)
def test_only_what_is_asked_for(modes: list[str], members: list[str]) -> None:
    assert [*captured(exchange(), *modes)["captureData"]] == members


@pytest.mark.parametrize(
    ("content_type", "encoding", "data"),
    [
        ("text/csv; charset=utf-8", "CSV", "1"),
        ("application/json", "JSON", "1"),
        ("image/png", "BASE64", base64.b64encode(b"1").decode()),
    ],
)
def test_text_is_what_is_named_to_be(content_type: str, encoding: str, data: str) -> None:
    side = captured(exchange(content_type), "Input")["captureData"]["endpointInput"]
    assert (side["encoding"], side["data"], side["observedContentType"]) == (encoding, data, content_type)


def test_nothing_is_text_by_itself() -> None:
    assert captured(exchange(), "Input", types={})["captureData"]["endpointInput"]["encoding"] == "BASE64"


def test_the_metadata_tell_when() -> None:
    found = captured(exchange(metadata={"inferenceId": "a"}), "Input")
    assert found["eventMetadata"]["inferenceTime"] == "2026-03-09T12:59:58Z"
    assert found["eventMetadata"]["inferenceId"] == "a"
    assert found["eventVersion"] == "0"


def test_an_object_is_of_one_variant_and_one_hour() -> None:
    later, other = exchange(at=NOON + 2), exchange(variant="w")
    found = by_key([exchange(), other, later, exchange()])
    places = {key.rpartition("/")[0]: exchanges for key, exchanges in found.items()}
    assert places == {
        "v/2026/03/09/12": [exchange(), exchange()],
        "w/2026/03/09/12": [other],
        "v/2026/03/09/13": [later],
    }
    assert next(iter(found)).startswith("v/2026/03/09/12/59-58-250-")


def test_capture_can_be_off() -> None:
    assert settings_of({}) is None
    assert settings_of({"DataCaptureConfig": {"EnableCapture": False}}) is None
    assert settings_of({"DataCaptureConfig": {"a": 1}}) == {"a": 1}
