"""Layers: bundles that jobs download, named by their content, so that each is uploaded only once."""

from __future__ import annotations

import functools
import io
import marshal
import zipfile
from importlib.machinery import SourceFileLoader
from importlib.util import MAGIC_NUMBER, source_hash
from pathlib import Path
from types import CodeType, ModuleType

import cloudpickle

import smexec.worker
from smexec.core.work import Layer

#: What the worker's package is called in the zipapp.
BUNDLED_NAME = "_smexec_worker"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip knows: the same bytes on every machine
_HASHED = 0b01  # PEP 552's flags: by hash; not to be checked
_WITHOUT_REFERENCES = 2  # the last of marshal's formats that has none


@functools.lru_cache(maxsize=1)
def worker_layer(file_name: str) -> Layer:
    """The worker and the client's cloudpickle as a zipapp.

    It carries the bytecode of this Python too, which is the job's as well: compiling cloudpickle at each
    start would take longer than most of the rest. Another Python ignores it and reads the sources.
    """
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as bundle:
        _add(bundle, "__main__.py", (_folder(smexec.worker) / "__main__.py").read_bytes())
        for name, package in ((BUNDLED_NAME, smexec.worker), ("cloudpickle", cloudpickle)):
            for path in sorted(_folder(package).glob("*.py")):
                if path.name != "__main__.py":
                    _add_module(bundle, f"{name}/{path.name}", path.read_bytes())
    return Layer(file_name, stream.getvalue())


def _folder(package: ModuleType) -> Path:
    assert package.__file__ is not None
    return Path(package.__file__).parent


def _add_module(bundle: zipfile.ZipFile, name: str, source: bytes) -> None:
    _add(bundle, name, source)
    code: CodeType = SourceFileLoader("", name).source_to_code(source, name)
    _add(bundle, name + "c", _unchecked_pyc(code, source))


def _unchecked_pyc(code: CodeType, source: bytes) -> bytes:
    """A bytecode file by PEP 552, of the kind that is valid whatever the time stamps say.

    In marshal's older format: the newer one depends on what else happens to refer to a name in this process,
    so that the layer would be another one in each.
    """
    flags = _HASHED.to_bytes(4, "little")
    return MAGIC_NUMBER + flags + source_hash(source) + marshal.dumps(code, _WITHOUT_REFERENCES)


def _add(bundle: zipfile.ZipFile, name: str, content: bytes) -> None:
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    bundle.writestr(entry, content)
