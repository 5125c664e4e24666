"""What runs in the container: ``train`` (Training), ``serve`` (an endpoint), or a script of yours with its
arguments (Processing). Scripts run in this very Python.

A script that trains finds what it would find in SageMaker's own images: hyperparameters as arguments
(``--rounds 100 -C 1.0``) and in ``SM_HPS``, and the directories ``SM_MODEL_DIR``, ``SM_OUTPUT_DATA_DIR`` and
``SM_CHANNEL_TRAIN``. ``deploy.py``, which serves the model, defines::

    model_fn(model_dir)        reads the model; without it, the model is model_dir
    predict_fn(data, model)    answers a request: of JSON what it holds, of CSV a list of rows

A row is a list, or a dict where there is a header. With numpy in the image, npy is read as an array.

SageMaker stops a container by SIGTERM. A script sees it as it sees Ctrl-C: KeyboardInterrupt.
"""

from __future__ import annotations

import csv
import io
import json
import os
import runpy
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import traceback
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

OPT_ML = Path(os.environ.get("SMEXEC_OPT_ML", "/opt/ml"))
MODEL = OPT_ML / "model"
STOPPED = 143  # as after SIGTERM


# -- training ----------------------------------------------------------------------------------------------


def train() -> int:
    """Run the job's program, and let the code that serves go with the model."""
    given = read_hyperparameters()
    code = unpack_code(given.get("sagemaker_submit_directory"))
    files = [path.relative_to(code) for path in code.rglob("*") if path.is_file()]
    own = {name: value for name, value in given.items() if not name.startswith("sagemaker_")}
    os.environ.update(training_environment(own))
    os.chdir(str(code))
    status = run(given["sagemaker_program"], as_flags(own))
    if Path("deploy.py") in files and any(MODEL.iterdir()):
        for path in files:
            (MODEL / "code" / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(str(code / path), str(MODEL / "code" / path))
    return status


def read_hyperparameters() -> dict[str, Any]:
    """Each is JSON within JSON: "100" is a number. What is none stays a text."""
    path = OPT_ML / "input" / "config" / "hyperparameters.json"
    texts = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return {name: decoded(text) for name, text in texts.items()}


def decoded(text: str) -> Any:
    """What JSON says, or the text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def as_flags(own: dict[str, Any]) -> list[str]:
    """Arguments of the program, as SageMaker's own images have them: by name, one letter after one dash."""
    names = sorted(own)
    return [text for name in names for text in (("-" if len(name) == 1 else "--") + name, as_text(own[name]))]


def as_text(value: Any) -> str:
    """As Python prints it; nothing for None, and a mapping as ``a=1,b=2``."""
    if isinstance(value, dict):
        return ",".join(f"{name}={value[name]}" for name in sorted(value))
    return "" if value is None else str(value)


def unpack_code(submit_directory: Any) -> Path:
    """The code comes by the channel ``code``; else it lies where the hyperparameters say."""
    directory = Path(tempfile.mkdtemp())
    archive = OPT_ML / "input" / "data" / "code" / "sourcedir.tar.gz"
    if not archive.exists() and not submit_directory:
        raise FileNotFoundError("there is neither a channel code nor sagemaker_submit_directory")
    if not archive.exists():
        archive = directory.with_suffix(".tar.gz")
        fetch = Path(__file__).with_name("fetch.sh")
        subprocess.run(["sh", str(fetch), submit_directory, str(archive)], check=True)
    # Nothing outside of the directory. Pythons before 2023 cannot be told so; since 3.12 they warn if not.
    safely: dict[str, Any] = {"filter": "tar"} if hasattr(tarfile, "tar_filter") else {}
    with tarfile.open(str(archive)) as tar:
        tar.extractall(str(directory), **safely)
    return directory


def training_environment(own: dict[str, Any]) -> dict[str, str]:
    """The variables of SageMaker's own images, the most used of them."""
    channels = sorted((OPT_ML / "input" / "data").iterdir())
    return {
        "SM_MODEL_DIR": str(MODEL),
        "SM_OUTPUT_DATA_DIR": str(OPT_ML / "output" / "data"),
        "SM_HPS": json.dumps(own),
        **{"SM_CHANNEL_" + path.name.upper(): str(path) for path in channels},
    }


# -- serving -----------------------------------------------------------------------------------------------


def serve() -> int:
    """Listen on the port that the platform names, else on 8080."""
    os.chdir(str(MODEL / "code"))
    sys.path.insert(0, str(MODEL / "code"))
    names = runpy.run_path("deploy.py")
    Handler.predict = names["predict_fn"]
    Handler.model = names.get("model_fn", str)(str(MODEL))
    port = int(os.environ.get("SAGEMAKER_BIND_TO_PORT", "8080"))
    ThreadingHTTPServer(("0.0.0.0", port), Handler).serve_forever()
    return 0


class Handler(BaseHTTPRequestHandler):
    """Answers a request."""

    predict: Callable[[Any, Any], Any]
    model: Any

    def do_GET(self) -> None:
        """The health check: the model is there."""
        self.answer(200 if self.path == "/ping" else 404, "", "text/plain")

    def do_POST(self) -> None:
        """A prediction."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        kind = self.headers.get("Content-Type", "application/json")
        read = READERS.get(kind.partition(";")[0].strip().lower())
        if read is None:
            self.answer(415, f"this endpoint takes {', '.join(READERS)}, not {kind}", "text/plain")
            return
        try:
            data = read(body, kind)
        except Exception as error:
            self.answer(400, str(error), "text/plain")
            return
        try:
            value = type(self).predict(data, type(self).model)
            self.answer(200, *written(value, self.headers.get("Accept", "")))
        except Exception as error:
            traceback.print_exc()
            self.answer(500, f"{type(error).__name__}: {error}", "text/plain")

    def answer(self, status: int, text: str, kind: str) -> None:
        """Send it."""
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        """Nothing: the platform pings every few seconds."""


def read_csv(body: bytes, kind: str) -> Any:
    """Rows, of which ``header=present`` or a first line without a number is a header."""
    lines = csv.reader(io.StringIO(body.decode()))
    rows: list[list[Any]] = [[number(cell) for cell in row] for row in lines if row]
    guessed = bool(rows) and all(isinstance(cell, str) for cell in rows[0])
    if "header=present" in kind or ("header=" not in kind and guessed):
        return [dict(zip(rows[0], row)) for row in rows[1:]]
    return rows


def number(cell: str) -> Any:
    """A cell that is a number is one."""
    try:
        return float(cell)
    except ValueError:
        return cell


def read_npy(body: bytes, _: str) -> Any:
    """An array of numpy's."""
    import numpy as np

    return np.load(io.BytesIO(body), allow_pickle=False)


READERS: dict[str, Callable[[bytes, str], Any]] = {
    "application/json": lambda body, _: json.loads(body),
    "text/csv": read_csv,
}
if find_spec("numpy"):
    READERS["application/x-npy"] = read_npy


def written(value: Any, accept: str) -> list[str]:
    """JSON unless CSV is asked for, and the type."""
    if not accept.startswith("text/csv"):
        return [json.dumps(value), "application/json"]
    text = io.StringIO()
    rows = value if isinstance(value, list) else [value]
    csv.writer(text, lineterminator="\n").writerows(row if isinstance(row, list) else [row] for row in rows)
    return [text.getvalue(), "text/csv"]


# -- processing --------------------------------------------------------------------------------------------


def process(arguments: list[str]) -> int:
    """A script is found by its path, or among those handed in. Without a name it is the only one there."""
    code = OPT_ML / "processing" / "input" / "code"
    scripts = [Path(arguments[0]), code / arguments[0]] if arguments else sorted(code.glob("*.py"))
    found = [path.resolve() for path in scripts if path.is_file()]
    if not found or (len(found) > 1 and not arguments):
        name = " ".join(arguments[:1])
        raise FileNotFoundError(f"neither train nor serve, nor a script here or in {code}: {name}")
    if code.is_dir():
        os.chdir(str(code))
    return run(str(found[0]), arguments[1:])


# -- all of them -------------------------------------------------------------------------------------------


def run(program: str, arguments: list[str]) -> int:
    """As ``python program arguments`` would: the exit code. An interrupt that is not caught ends it here.

    :raises SystemExit: the program exits with what is no number: why it failed
    """
    sys.argv = [program, *arguments]
    sys.path.insert(0, str(Path(program).resolve().parent))
    try:
        runpy.run_path(program, run_name="__main__")
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return STOPPED
    except SystemExit as ended:
        if ended.code is None or isinstance(ended.code, int):
            return ended.code or 0
        raise
    return 0


def interrupt(*_: Any) -> None:
    """Once only: a second one must not interrupt a program that saves its model."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


def failure(error: Exception) -> str:
    """What was wrong first, then the program's own part of the traceback."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if is_own(frame.filename)]
    said = traceback.format_exception_only(type(error), error)
    return "".join([*said, *traceback.format_list(frames)])


def is_own(filename: str) -> bool:
    """Whether it is no file of what runs the program."""
    return filename != __file__ and "runpy" not in filename


def tell(command: str, text: str) -> None:
    """Where the platform looks for what a job has to say of its end."""
    file = OPT_ML / "output" / ("failure" if command == "train" else "message")
    if file.parent.is_dir():
        file.write_text(text, encoding="utf-8")


def main(arguments: list[str]) -> int:
    """The exit code. The reason of a failure is told."""
    signal.signal(signal.SIGTERM, interrupt)
    command = arguments[0] if arguments else ""
    try:
        return train() if command == "train" else serve() if command == "serve" else process(arguments)
    except KeyboardInterrupt:
        return STOPPED
    except SystemExit as ended:
        tell(command, str(ended.code))
        raise  # Python prints it
    except Exception as error:
        traceback.print_exc()
        tell(command, failure(error))
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
