"""Directories to build images of: written once, and the user's own from then on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from smexec.errors import ImageError

T = TypeVar("T")

HOME = Path(__file__).parent
PURPOSES = ("processing", "training", "serving")
CODE = "code"
_OPT_ML = "/opt/ml"
_FETCH = "fetch.sh"  # the same for all languages
_EXECUTABLE = (".sh", ".pl")

_DOCKERFILE = """\
# {title}. The base can be another: --build-arg BASE=...
ARG BASE=debian:bookworm-slim
FROM $BASE

# {advice}
RUN apt-get update \\
    && apt-get install --yes --no-install-recommends \\
{packages}
    && rm -rf /var/lib/apt/lists/*

ENV {environment}
COPY {files} {opt_ml}/
ENTRYPOINT {entrypoint}
"""
_IGNORED = """\
# The image has what the Dockerfile copies. Code comes with each job, and stays out.
*
"""


@dataclass(frozen=True)
class Template:
    """What is written for one language. All its files lie in a directory of its name.

    :ivar title: of the Dockerfile
    :ivar advice: how the user's own packages are called
    :ivar entrypoint: the image's; its last item is the file that is started
    :ivar files: that the image has, beside that one
    :ivar packages: Debian's, by what they are for; those of "" are for everything
    :ivar examples: code to begin with, by what it is for
    :ivar environment: the image's
    """

    title: str
    advice: str
    entrypoint: tuple[str, ...]
    files: tuple[str, ...]
    packages: Mapping[str, tuple[str, ...]]
    examples: Mapping[str, tuple[str, ...]]
    environment: Mapping[str, str] = field(default_factory=lambda: {"LANG": "C.UTF-8"})


_FOR_FETCHING = ("ca-certificates", "curl")
TEMPLATES = {
    "r": Template(
        title="R scripts on SageMaker",
        advice="Your own packages go here; R's are called r-cran-NAME.",
        entrypoint=("sh", "run.sh"),
        files=("entrypoint.R",),
        packages={
            "": ("r-base-core",),
            "training": ("r-cran-jsonlite", *_FOR_FETCHING),
            "serving": ("r-cran-jsonlite", "r-cran-plumber"),
        },
        examples={"processing": ("process.R",), "training": ("train.R",), "serving": ("deploy.R",)},
    ),
    "python": Template(
        title="Python scripts on SageMaker",
        advice="Your own packages go here; Python's are called python3-NAME.",
        entrypoint=("python3", "entrypoint.py"),
        files=(),
        packages={"": ("python3",), "training": _FOR_FETCHING},
        examples={"processing": ("process.py",), "training": ("train.py",), "serving": ("deploy.py",)},
        environment={"LANG": "C.UTF-8", "PYTHONUNBUFFERED": "1"},
    ),
    "any": Template(
        title="Programs in any language on SageMaker",
        advice="What your programs need goes here.",
        entrypoint=("sh", "run.sh"),
        files=(),
        packages={"": ("perl-base",), "training": _FOR_FETCHING},
        examples={"processing": ("process.sh",), "training": ("train.pl",), "serving": ("serve.pl",)},
    ),
}


def init(
    language: str, directory: str | Path | None = None, *, purpose: str = "all", force: bool = False
) -> list[Path]:
    """Write a directory to build an image of: a Dockerfile, its entry point, and code to begin with.

    :param language: "r", "python", or "any" for other programs
    :param directory: by default one of the language's name, here
    :param purpose: "processing", "training", "serving", or "all"
    :param force: overwrite what is there
    :returns: what was written
    :raises smexec.errors.ImageError: there is no such language or purpose, a file is there already, or
        nothing can be written there
    """
    template = _choice(TEMPLATES, language, "language")
    purposes = purposes_of(purpose)
    target = Path(language if directory is None else directory)
    contents = {target / name: content for name, content in _contents(language, template, purposes)}
    existing = [str(path) for path in contents if path.exists()]
    if existing and not force:
        raise ImageError(f"{', '.join(existing)}: there already; with force they are overwritten")
    try:
        for path, content in contents.items():
            _write(path, content)
    except OSError as error:
        raise ImageError(f"{target} cannot be written: {error}") from error
    return list(contents)


def _write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    path.chmod(0o755 if path.suffix in _EXECUTABLE else 0o644)


def purposes_of(purpose: str) -> tuple[str, ...]:
    """What it comprises: "all" is each of them."""
    return _choice({**{one: (one,) for one in PURPOSES}, "all": PURPOSES}, purpose, "purpose")


def example(language: str) -> Path:
    """The directory of a language's examples."""
    _choice(TEMPLATES, language, "language")
    return HOME / language / CODE


def _choice(choices: Mapping[str, T], name: str, kind: str) -> T:
    if name not in choices:
        raise ImageError(f"{name!r} is no {kind}: {', '.join(choices)}")
    return choices[name]


def _contents(language: str, template: Template, purposes: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Names and texts of all files."""
    files = [template.entrypoint[-1], *template.files, *([_FETCH] if "training" in purposes else [])]
    yield "Dockerfile", _dockerfile(template, files, purposes)
    yield "image.json", _manifest(template, files)
    yield ".dockerignore", _IGNORED + "".join(f"!{name}\n" for name in files)
    for name in files:
        source = HOME / name if name == _FETCH else HOME / language / name
        yield name, source.read_text(encoding="utf-8")
    for purpose in purposes:
        for name in template.examples[purpose]:
            yield f"{CODE}/{name}", (example(language) / name).read_text(encoding="utf-8")


def _dockerfile(template: Template, files: list[str], purposes: tuple[str, ...]) -> str:
    packages = {package for purpose in ("", *purposes) for package in template.packages.get(purpose, ())}
    return _DOCKERFILE.format(
        title=f"{template.title}: {', '.join(purposes)}",
        advice=template.advice,
        packages="\n".join(f"        {package} \\" for package in sorted(packages)),
        environment=" ".join(f"{name}={value}" for name, value in template.environment.items()),
        files=" ".join(files),
        opt_ml=_OPT_ML,
        entrypoint=json.dumps(_entrypoint(template)),
    )


def _manifest(template: Template, files: list[str]) -> str:
    """What the Dockerfile says, for the local service: it starts the image's files without an engine."""
    manifest = {
        "entrypoint": _entrypoint(template),
        "env": template.environment,
        "files": {f"{_OPT_ML}/{name}": name for name in files},
    }
    return json.dumps(manifest, indent=2) + "\n"


def _entrypoint(template: Template) -> list[str]:
    *program, file = template.entrypoint
    return [*program, f"{_OPT_ML}/{file}"]
