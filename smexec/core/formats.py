"""What models are asked and what they answer: Python objects ↔ bodies with a content type."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from smexec.errors import FormatError

JSON, CSV, NPY, BYTES = "application/json", "text/csv", "application/x-npy", "application/octet-stream"
JSON_LINES = "application/jsonlines"
_SHORT = {"json": JSON, "csv": CSV, "npy": NPY, "jsonlines": JSON_LINES}
MAX_BODY = 6_291_456  # bytes that InvokeEndpoint takes
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?inf|nan", re.ASCII | re.IGNORECASE)


class Body(NamedTuple):
    """Of a request to a model, or of its answer."""

    content: bytes
    content_type: str


def encode(data: Any, content_type: str | None = None) -> Body:
    """What is sent for ``data``.

    :param content_type: or ``json``, ``csv``, ``npy``. None: what the data is says it: bytes are sent as
        they are, arrays of numpy as npy, frames of pandas as CSV, all else as JSON
    :raises FormatError: it cannot be written like that, or is more than the service takes
    """
    written = _SHORT.get(content_type, content_type) if content_type else _type_of(data)
    content = _content(data, written)
    if (
        written == CSV
        and not isinstance(data, bytes | bytearray | memoryview | str)
        and _seems_named(content)
    ):
        written += "; header=absent"  # RFC 4180's word
    if len(content) > MAX_BODY:
        raise FormatError(
            f"the data is {len(content)} bytes as {written}, and an endpoint takes {MAX_BODY} at a time: "
            "send it in parts, or use Batch Transform, which reads from S3"
        )
    return Body(content, written)


def decode(body: Body) -> Any:
    """JSON → objects; CSV → a list of rows, with floats where there are numbers; npy → an array; other
    texts → str; all else → bytes.

    :raises FormatError: it is not what its content type says
    """
    kind = body.content_type.partition(";")[0].strip().lower()
    read = _READERS.get(kind) or (_read_json if kind.endswith("+json") else None)
    if read is None:
        read = _read_text if kind.startswith("text/") else bytes
    try:
        return read(body.content)
    except (ValueError, csv.Error) as error:
        raise FormatError(f"the model's answer is not {body.content_type}, as it says: {error}") from error


def full(name: str | None) -> str | None:
    """``text/csv`` for ``csv``."""
    return _SHORT.get(name, name) if name else None


def _type_of(data: Any) -> str:
    if isinstance(data, bytes | bytearray | memoryview):
        return BYTES
    if hasattr(data, "__array_interface__") and hasattr(data, "dtype"):
        return NPY
    return CSV if hasattr(data, "to_csv") else JSON


def _content(data: Any, content_type: str) -> bytes:
    if isinstance(data, bytes | bytearray | memoryview):
        return bytes(data)
    kind = content_type.partition(";")[0].strip().lower()
    if isinstance(data, str) and kind not in {JSON, JSON_LINES}:
        return data.encode()
    write = _WRITERS.get(kind)
    if write is None:
        raise FormatError(f"give bytes or a str for {content_type}: what is written is {', '.join(_WRITERS)}")
    try:
        return write(data)
    except (TypeError, ValueError, csv.Error) as error:
        raise FormatError(f"the data cannot be written as {content_type}: {error}") from error


def _write_json(data: Any) -> bytes:
    return json.dumps(data, default=_plain).encode()


def _write_json_lines(data: Any) -> bytes:
    return b"".join(_write_json(item) + b"\n" for item in data)


def _write_csv(data: Any) -> bytes:
    """Without names of columns, as SageMaker's own containers take it."""
    if hasattr(data, "to_csv"):
        return str(data.to_csv(header=False, index=False)).encode()
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(_rows(data))
    return text.getvalue().encode()


def _seems_named(content: bytes) -> bool:
    """Whether the first row, having no number, could be taken for names of columns."""
    lines = io.TextIOWrapper(io.BytesIO(content), "utf-8", newline="")  # decoded only as far as it is read
    try:
        row = next(csv.reader(lines), [])
    except csv.Error:  # a longer text than the module reads, which is no number
        return True
    return not any(_NUMBER.fullmatch(cell) and math.isfinite(float(cell)) for cell in row)


def _rows(data: Any) -> list[list[Any]]:
    """Those of an array or of nested lists; a flat one is a row."""
    items = data.tolist() if hasattr(data, "tolist") else data
    rows = list(items) if _is_sequence(items) else [items]
    if not all(map(_is_sequence, rows)):
        rows = [rows]
    if any(_is_sequence(cell) or isinstance(cell, dict) for row in rows for cell in row):
        raise ValueError("it is to be rows of numbers and texts")
    return [list(row) for row in rows]


def _is_sequence(data: Any) -> bool:
    return isinstance(data, Iterable) and not isinstance(data, str | bytes | dict)


def _write_npy(data: Any) -> bytes:
    import numpy as np

    file = io.BytesIO()
    np.save(file, np.asarray(data), allow_pickle=False)
    return file.getvalue()


def _plain(value: Any) -> Any:
    """What arrays and numbers of numpy's and frames of pandas' hold."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if hasattr(value, "to_dict"):
        return value.to_dict("records") if hasattr(value, "columns") else value.to_dict()
    raise TypeError(f"{type(value).__name__} is none of JSON's types")


def _read_json(content: bytes) -> Any:
    return json.loads(content) if content.strip() else None


def _read_json_lines(content: bytes) -> Any:
    return [json.loads(line) for line in content.splitlines() if line.strip()]


def _read_csv(content: bytes) -> list[list[float | str]]:
    lines = io.StringIO(content.decode(), newline="")
    return [[_cell(text) for text in row] for row in csv.reader(lines, strict=True)]


def _cell(text: str) -> float | str:
    return float(text) if _NUMBER.fullmatch(text.strip(" ")) else text


def _read_npy(content: bytes) -> Any:
    import numpy as np

    return np.load(io.BytesIO(content), allow_pickle=False)


def _read_text(content: bytes) -> str:
    return content.decode()


_WRITERS: dict[str, Callable[[Any], bytes]] = {
    JSON: _write_json,
    JSON_LINES: _write_json_lines,
    CSV: _write_csv,
    NPY: _write_npy,
}
_READERS: dict[str, Callable[[bytes], Any]] = {
    JSON: _read_json,
    JSON_LINES: _read_json_lines,
    CSV: _read_csv,
    NPY: _read_npy,
}
