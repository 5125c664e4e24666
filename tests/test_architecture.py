"""The house of DESIGN.md, kept true: imports go down, and only a future comes back."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import smexec

PACKAGE = Path(smexec.__file__).parent

# What each room may import of the others. A name in the list is a whole room, or one module of it.
WORKER = {"worker"}
CORE = {"errors", "core", *WORKER}
CAPTURE = {"capture", *CORE}
AWS = {"aws", *CORE}
ENGINE = {"engine", *CAPTURE, *AWS}
ENDPOINT = {"endpoint", "future", "awaiting", *ENGINE}
PROGRAM = {"program", "inputs", *CAPTURE}
DEPLOYMENT = {"deployment", *PROGRAM, *ENDPOINT}
SCRIPT = {"script", "trained", "processing", "transform", *DEPLOYMENT}
EXECUTOR = {"executor", "results", *SCRIPT}
FACADE = {"__init__", "decorator", "demo", *EXECUTOR}
ROOMS = {
    "errors": set[str](),
    "worker": WORKER,
    "core": CORE,
    "capture": CAPTURE,
    "aws": AWS,
    "engine": ENGINE,
    "executor": EXECUTOR,
    "future": EXECUTOR,
    "results": EXECUTOR,
    "awaiting": set[str](),
    "inputs": CAPTURE,
    "program": CAPTURE,
    "processing": PROGRAM,
    "transform": PROGRAM,
    "endpoint": ENDPOINT,
    "deployment": DEPLOYMENT,
    "trained": {"trained", "transform", *DEPLOYMENT},
    "script": SCRIPT,
    "decorator": FACADE,
    "demo": FACADE,
    "joblib": FACADE,
    "images": ENGINE | {"images", "awaiting", "testing"},
    "__init__": FACADE,
    "testing": FACADE | {"local"},
    "cli": FACADE | {"cli", "images", "local", "testing"},
    "local": {"local"},
}
# The executor's way to the local service of its machine user, for instance_type="local".
LEASE = "local.lease"

# The worker's zipapp carries cloudpickle, and the worker itself under a name of its own; the image may have
# certifi, which is looked for and done without.
BUNDLED = {"cloudpickle", "_smexec_worker"}
FOUND_IN_THE_IMAGE = {"certifi"}

IMPURE_MODULES = {
    "time", "asyncio", "threading", "socket", "subprocess", "shutil", "tempfile", "urllib", "http", "random",
    "boto3", "botocore", "aioboto3", "aiobotocore", "aiohttp", "anyio", "requests", "tenacity",
}  # fmt: skip
IMPURE_CALLS = {
    "open", "input", "print", "now", "utcnow", "today", "urandom", "uuid1", "uuid4", "getenv",
    "read_text", "read_bytes", "write_text", "write_bytes",
}  # fmt: skip
# A module's own data file is read as an import would read it.
PURE_ALL_THE_SAME = {("core.images", "read_text")}

RESOLVING = {"set_result", "set_exception", "set_running_or_notify_cancel"}


def modules() -> list[str]:
    """Dotted names of all modules, without the package's own: ``core.images``, ``worker.__init__``."""
    return sorted(".".join(path.relative_to(PACKAGE).with_suffix("").parts) for path in PACKAGE.rglob("*.py"))


def tree(module: str) -> ast.Module:
    path = PACKAGE.joinpath(*module.split(".")).with_suffix(".py")
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imports(module: str) -> Iterator[tuple[str, ast.stmt]]:
    """Absolute names that a module imports, wherever in it, those for the type checker too."""
    package = ["smexec", *module.split(".")[:-1]]
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node
        elif isinstance(node, ast.ImportFrom):
            parents = package[: len(package) + 1 - node.level] if node.level else []
            base = ".".join([*parents, *filter(None, [node.module])])
            for alias in node.names:
                yield f"{base}.{alias.name}", node


def own_imports(module: str) -> set[str]:
    """Names within smexec that a module imports, without ``smexec.``."""
    names = {name for name, _ in imports(module) if name.split(".")[0] == "smexec"}
    return {name.partition(".")[2] or "__init__" for name in names}


def foreign_imports(module: str) -> set[str]:
    roots = {name.split(".")[0] for name, _ in imports(module)}
    return roots - {"smexec", "__future__"}


def room(name: str) -> str:
    """The room that a name is in; one that ``smexec/__init__.py`` itself offers is the façade's."""
    first = name.partition(".")[0]
    exists = (PACKAGE / first).is_dir() or (PACKAGE / f"{first}.py").exists()
    return first if exists else "__init__"


def calls(module: str) -> Iterator[str]:
    """Last names of all that is called: ``now`` for ``datetime.now()``."""
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Attribute):
                yield node.func.attr
            elif isinstance(node.func, ast.Name):
                yield node.func.id


def test_every_module_is_in_a_room_of_the_house() -> None:
    assert {room(module) for module in modules()} <= set(ROOMS)


@pytest.mark.parametrize("module", modules())
def test_imports_go_down(module: str) -> None:
    allowed = ROOMS[room(module)]
    upward = {name for name in own_imports(module) if room(name) not in allowed}
    if room(module) in EXECUTOR:
        upward = {name for name in upward if not name.startswith(LEASE)}
    assert not upward


def test_the_lease_is_taken_in_one_place() -> None:
    takers = {module for module in modules() if f"{LEASE}.lease" in own_imports(module)}
    takers = {module for module in takers if room(module) not in {"local", "testing", "cli"}}
    assert len(takers) <= 1, takers


@pytest.mark.parametrize("module", [module for module in modules() if room(module) == "worker"])
def test_the_worker_needs_python_only(module: str) -> None:
    stdlib = set(sys.stdlib_module_names)
    lazily = FOUND_IN_THE_IMAGE - {name.split(".", 1)[0] for name in top_level_imports(module)}
    assert foreign_imports(module) <= stdlib | BUNDLED | lazily


def top_level_imports(module: str) -> Iterator[str]:
    for node in tree(module).body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize("module", [module for module in modules() if room(module) == "worker"])
def test_the_worker_is_readable_by_old_pythons(module: str) -> None:
    path = PACKAGE.joinpath(*module.split(".")).with_suffix(".py")
    ast.parse(path.read_text(encoding="utf-8"), str(path), feature_version=(3, 8))


@pytest.mark.parametrize("module", [module for module in modules() if room(module) == "core"])
def test_core_is_pure(module: str) -> None:
    assert not foreign_imports(module) & IMPURE_MODULES
    impure = {(module, name) for name in calls(module)} & {(module, name) for name in IMPURE_CALLS}
    assert not impure - PURE_ALL_THE_SAME


def test_futures_are_resolved_in_one_module() -> None:
    resolvers = {module for module in modules() if room(module) != "local" and RESOLVING & set(calls(module))}
    assert len(resolvers) <= 1, resolvers


def test_importing_smexec_is_light() -> None:
    aws = {"boto3", "botocore", "aioboto3", "aiobotocore", "aiohttp", "moto"}
    heavy = {"joblib", "numpy", "rich", "typer", *aws}
    program = (
        "import json, sys, time\n"
        "start = time.perf_counter(); import smexec; took = time.perf_counter() - start\n"
        "print(json.dumps([took, sorted(sys.modules)]))"
    )
    answer = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    took, loaded = json.loads(answer.stdout)
    print(f"import smexec: {took * 1000:.0f} ms")
    assert not heavy & {name.split(".")[0] for name in loaded}
