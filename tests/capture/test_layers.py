from __future__ import annotations

import hashlib
import io
import marshal
import os
import subprocess
import sys
import zipfile
from importlib.util import MAGIC_NUMBER
from pathlib import Path

import cloudpickle
import pytest

import smexec.worker
from smexec.capture.layers import worker_layer
from smexec.core.work import Layer

LAYER = worker_layer("worker.pyz")
BUNDLE = zipfile.ZipFile(io.BytesIO(LAYER.content))
MODULES = [name for name in BUNDLE.namelist() if name.endswith(".py")]

# Imports much and hashes differently; prints the layer's name.
ELSEWHERE = """
import asyncio, unittest, email.mime, xml.dom.minidom, cloudpickle, numpy, typing, inspect, traceback
from smexec.capture.layers import worker_layer
print(worker_layer("worker.pyz").sha256)
"""


def test_a_layer_is_named_by_its_content() -> None:
    assert Layer("f", b"abc").sha256 == hashlib.sha256(b"abc").hexdigest()
    assert LAYER.file_name == "worker.pyz"


def test_the_worker_is_made_once() -> None:
    assert worker_layer("worker.pyz") is LAYER


def test_it_is_the_same_when_it_is_made_again() -> None:
    worker_layer.cache_clear()
    assert worker_layer("worker.pyz").content == LAYER.content


@pytest.mark.parametrize("seed", ["1", "2"])
def test_it_is_the_same_in_another_process(seed: str) -> None:
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE], stdout=subprocess.PIPE, text=True, check=True, env=environment
    )
    assert done.stdout.strip() == LAYER.sha256


def test_what_is_in_it() -> None:
    packages = {name.partition("/")[0] for name in BUNDLE.namelist()}
    assert packages == {"__main__.py", "_smexec_worker", "cloudpickle"}
    worker = {
        f"_smexec_worker/{path.name}" for path in Path(smexec.worker.__file__ or "").parent.glob("*.py")
    }
    assert worker - set(BUNDLE.namelist()) == {"_smexec_worker/__main__.py"}
    source = Path(cloudpickle.__file__).parent / "cloudpickle.py"
    assert BUNDLE.read("cloudpickle/cloudpickle.py") == source.read_bytes()


def test_nothing_in_it_tells_of_this_machine() -> None:
    ours = {Path.home(), Path(sys.prefix), Path(sys.base_prefix), Path(smexec.__file__).parent}
    for entry in BUNDLE.infolist():
        content = BUNDLE.read(entry)
        assert not any(bytes(path) in content for path in ours), entry.filename
        assert entry.date_time == (1980, 1, 1, 0, 0, 0)
        assert entry.external_attr >> 16 == 0o644


@pytest.mark.parametrize("name", [name for name in MODULES if name != "__main__.py"])
def test_modules_need_not_be_compiled_in_the_container(name: str) -> None:
    bytecode = BUNDLE.read(name + "c")
    assert bytecode[:4] == MAGIC_NUMBER
    assert int.from_bytes(bytecode[4:8], "little") == 0b01  # PEP 552: by hash, unchecked
    code = marshal.loads(bytecode[16:])
    assert code == compile(BUNDLE.read(name), name, "exec", dont_inherit=True)


def test_main_is_compiled_by_whatever_python_there_is() -> None:
    assert "__main__.pyc" not in BUNDLE.namelist()
