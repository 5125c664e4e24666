"""The one list of what can be done here: ``nox -l``.

``nox -s demo`` and ``nox -s tests`` are what a newcomer types first. Every session installs smexec itself, as
a wheel: what is tested is what a user gets.
"""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path

import nox
from nox.command import CommandFailed

nox.needs_version = ">=2024.10.9"
nox.options.sessions = ["lint", "types", "tests", "contract", "docs"]
# A machine seldom has every Python: run those that are there, also where CI is set.
nox.options.error_on_missing_interpreters = False
nox.options.download_python = "never"
nox.options.reuse_venv = "yes"
# Where there is uv (pip install "nox[uv]"), environments take seconds.
nox.options.default_venv_backend = "uv|virtualenv"

PYPROJECT = nox.project.load_toml("pyproject.toml")
PYTHONS = [*nox.project.python_versions(PYPROJECT)]
# Tests wait more than they compute. Those of a file share what it sets up.
SIDE_BY_SIDE = ("--numprocesses", "3", "--dist", "loadfile")
# What takes most of the time and least depends on the Python: left out on all but the newest, or on all but
# that and the oldest.
NEWEST_ONLY = (
    "tests/benchmarks",
    "tests/cli",
    "tests/examples",
    "tests/images",
    "tests/test_demo.py",
    "tests/test_ecosystem.py",
)
ENDS_ONLY = (
    "tests/aws",
    "tests/engine",
    "tests/local",
    "tests/test_again.py",
    "tests/test_dependencies.py",
    "tests/test_endpoint.py",
    "tests/test_hosts.py",
    "tests/test_joblib.py",
    "tests/test_processing.py",
    "tests/test_script.py",
    "tests/test_sharing.py",
    "tests/test_transform.py",
)
# Programs that Debian has in packages of other names; R's are those that the images have.
PACKAGES = {"Rscript": ("r-base-core", "r-cran-jsonlite", "r-cran-plumber")}


# Of images for tests; the first has nothing but Debian's smallest system.
BASE, R_IMAGE = "localhost/smexec-base", "localhost/smexec-r"
# For podman where it is itself in a container without privileges: no networks of its own, no higher limits.
CONTAINERS_CONF = """\
[containers]
default_ulimits = ["nofile=1000:1000", "nproc=1000:1000"]
netns = "host"
[engine]
runtime = "runc"
"""


def show_pyenv_pythons() -> None:
    """The shims of pyenv refuse every Python but the active one: activate all, the active one first."""
    root = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
    installed = [path.name for path in sorted((root / "versions").glob("3.*"))]
    installed.sort(key=lambda version: version != platform.python_version())
    if installed:
        os.environ.setdefault("PYENV_VERSION", ":".join(installed))


show_pyenv_pythons()


def installed_pythons() -> list[str]:
    """Those of our Pythons that this machine has, the oldest first."""
    return [version for version in PYTHONS if shutil.which(f"python{version}")]


def group(name: str) -> list[str]:
    """Requirements of a dependency group of pyproject.toml."""
    return list(nox.project.dependency_groups(PYPROJECT, name))


def install(session: nox.Session, *extras: str, groups: tuple[str, ...] = ()) -> None:
    """Install smexec with these extras, and what these groups ask for."""
    requirements = [requirement for name in groups for requirement in group(name)]
    session.install(f".[{','.join(extras)}]", *requirements)


def another_environment(session: nox.Session, name: str, *requirements: str) -> Path:
    """The Python of an environment beside the session's own, with these installed."""
    directory = Path(session.create_tmp()).absolute() / name
    python = directory / "bin" / "python"
    is_new = not python.exists()
    if session.venv_backend == "uv":
        create, install = (
            ["uv", "venv", "--seed", "--python", "python"],
            ["uv", "pip", "install", "--python", str(python)],
        )
    else:
        create, install = ["python", "-m", "venv"], [str(python), "-m", "pip", "install"]
    if is_new:
        session.run(*create, str(directory), silent=True, external=True)
    session.run(*install, "--quiet", *requirements, external=True)
    return python


def left_out_by(python: str) -> tuple[str, ...]:
    """Tests that run on other Pythons of this machine."""
    installed = installed_pythons()
    if python == installed[-1]:
        return ()
    return NEWEST_ONLY if python == installed[0] else (*NEWEST_ONLY, *ENDS_ONLY)


def run_tests(session: nox.Session, *arguments: str, env: dict[str, str] | None = None) -> None:
    """Run pytest; tests that fail run once more, one after the other and with nothing beside them.

    What fails again is broken. What does not is a race that the first run has shown, in full: a fault to be
    mended as well, but no reason to throw away what has nothing to do with it. What is left behind by
    whichever test has no second chance.
    """
    cache = Path(session.cache_dir).absolute() / f"pytest-{session.name}"
    shutil.rmtree(cache, ignore_errors=True)  # failures of earlier runs
    failed, left_behind = cache / "v" / "cache" / "lastfailed", cache / "d" / "left-behind"
    pytest = ("pytest", "--override-ini", f"cache_dir={cache}", *arguments)
    try:
        session.run(*pytest, env=env)
    except CommandFailed:
        if not failed.exists() or left_behind.exists():  # without a failed test, pytest itself has failed
            raise
        session.warn("What failed runs once more, alone. If it passes now, it is a race: mend it.")
        session.run(*pytest, "--last-failed", "--numprocesses", "0", "--maxfail", "1", "-v", env=env)


@nox.session
def demo(session: nox.Session) -> None:
    """Run a parameter grid as Training Jobs on this machine, and draw its heat map."""
    install(session, "all")
    session.run("smexec", "demo", *session.posargs)


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """The project's own tests; arguments go to pytest."""
    install(session, "all", groups=("tests",))
    left_out = () if session.posargs else left_out_by(str(session.python))
    run_tests(session, *SIDE_BY_SIDE, *(f"--ignore={path}" for path in left_out), *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """All of ruff's rules but those that pyproject.toml gives a reason against."""
    session.install(*group("lint"))
    session.run("ruff", "check", *session.posargs, ".")


@nox.session
def types(session: nox.Session) -> None:
    """Check all types, those of the tests too, with mypy --strict; the public ones with pyright as well."""
    install(session, "all", groups=("types",))
    session.run("mypy", *session.posargs)
    session.run("pyright")


@nox.session(python=["3.13", "3.14"])
def contract(session: nox.Session) -> None:
    """The tests that CPython has of its executors, and joblib of its backends, on the local service."""
    install(session, "all", groups=("tests",))
    run_tests(session, "tests/contract", *SIDE_BY_SIDE, *session.posargs)


@nox.session(python="3.10")
def rival(session: nox.Session) -> None:
    """Run the SageMaker SDK's own clients, unmodified, against the local service."""
    # The SDK and its hundred dependencies have an environment of their own, for its client and its jobs.
    sdk = another_environment(session, "sdk", "sagemaker>=2.257,<3")
    install(session, "local", groups=("tests",))
    env = {"RIVAL_PYTHON": str(sdk)}
    run_tests(session, "tests/rival", *session.posargs, env=env)


@nox.session
def r(session: nox.Session) -> None:
    """Process, train and serve with real R, as processes of this machine; for root on Debian, or with R."""
    need_programs(session, "Rscript", "curl")
    install(session, "all", groups=("tests",))
    run_tests(session, "tests/images/test_r.py", *session.posargs)
    run_tests(session, "tests/docs/test_examples.py", "-k", "[r]")


@nox.session
def containers(session: nox.Session) -> None:
    """Build images and run jobs and endpoints in them, in real containers; for root on Debian."""
    need_programs(session, "podman", "runc", "debootstrap")
    install(session, "all", groups=("tests",))
    conf = Path(session.create_tmp()).absolute() / "containers.conf"
    conf.write_text(CONTAINERS_CONF, encoding="utf-8")
    session.env["CONTAINERS_CONF"] = os.environ.get("CONTAINERS_CONF", str(conf))
    ensure_base(session)
    recipe = conf.with_name("r")
    shutil.rmtree(recipe, ignore_errors=True)
    session.run("smexec", "image", "init", "r", str(recipe))
    name = R_IMAGE.removeprefix("localhost/")
    build = ("smexec", "image", "build", str(recipe), "--repository", name, "--using", "podman")
    session.run(*build, "--", "--build-arg", f"BASE={BASE}")
    session.run("smexec", "image", "check", R_IMAGE, "--language", "r", "--using", "podman")
    env = {"TEST_CONTAINER_IMAGE": BASE, "TEST_R_IMAGE": R_IMAGE}
    run_tests(session, "tests/containers", "tests/local/test_containers.py", *session.posargs, env=env)


def need_programs(session: nox.Session, *names: str) -> None:
    """Install those that are missing with Debian's packages, or skip the session."""
    missing = [name for name in names if not shutil.which(name)]
    packages = [package for name in missing for package in PACKAGES.get(name, (name,))]
    if not missing:
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        session.skip(f"there is no {', '.join(missing)}, and only root on Debian can install it")
    session.run("apt-get", "update", "--quiet", external=True, silent=True)
    install = ("apt-get", "install", "--quiet", "--yes", "--no-install-recommends")
    session.run(*install, *packages, external=True, silent=True)


def ensure_base(session: nox.Session) -> None:
    """Make the image that others are built upon, unless it is there: no registry needs to be in reach."""
    listed = session.run("podman", "images", "--quiet", BASE, external=True, silent=True)
    if str(listed).strip():
        return
    root = Path(session.create_tmp()).absolute() / "root"
    archive = root.with_suffix(".tar")
    session.run("debootstrap", "--variant=minbase", "bookworm", str(root), external=True, silent=True)
    session.run("tar", "--create", "--file", str(archive), "--directory", str(root), ".", external=True)
    session.run("podman", "import", str(archive), BASE, external=True, silent=True)
    archive.unlink()
    shutil.rmtree(root)


@nox.session
def docs(session: nox.Session) -> None:
    """Run the documentation's examples, follow its links, compare its generated pages."""
    install(session, "all", groups=("tests",))
    run_tests(session, "tests/docs", "--numprocesses", "3", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure smexec beside others: ``nox -s bench -- fanout latency --quick``."""
    install(session, "local", "joblib", "report", groups=("bench",))
    # Each of the others is installed in an environment of its own there.
    environments = Path(session.create_tmp()).absolute() / "environments"
    session.run("python", "-m", "benchmarks", "--environments", str(environments), *session.posargs)
