"""The documentation agrees with the code, and with itself."""

from __future__ import annotations

import importlib.util
import inspect
import re
from pathlib import Path

import pytest

from smexec import errors

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.glob("*.md"))]


def read(*parts: str) -> str:
    return ROOT.joinpath(*parts).read_text(encoding="utf-8")


def sessions() -> set[str]:
    return set(re.findall(r"^def (\w+)\(session", read("noxfile.py"), re.MULTILINE))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    local = [target for target in targets if not target.startswith(("http:", "https:", "mailto:"))]
    missing = [target for target in local if not (page.parent / target).exists()]
    assert not missing


def test_every_page_is_in_the_index() -> None:
    index = read("docs", "index.md")
    pages = {page.name for page in DOCS.glob("*.md")} - {"index.md"}
    assert not {name for name in pages if f"({name})" not in index}


def test_settings_page_is_what_the_table_says() -> None:
    spec = importlib.util.spec_from_file_location("make_settings", DOCS / "make_settings.py")
    assert spec is not None
    assert spec.loader is not None
    maker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(maker)
    assert read("docs", "settings.md") == maker.page(), "run python docs/make_settings.py"


def test_every_error_is_explained() -> None:
    text = read("docs", "errors.md")
    classes = [name for name, item in inspect.getmembers(errors, inspect.isclass) if is_ours(item)]
    assert not [name for name in classes if f"`{name}`" not in text and f"`smexec.errors.{name}`" not in text]


def is_ours(item: type) -> bool:
    return item.__module__ == errors.__name__


def test_every_session_that_the_readme_names_exists() -> None:
    named = set(re.findall(r"nox -s (\w+)", read("README.md")))
    assert named
    assert named <= sessions()


def test_ci_runs_sessions_that_exist() -> None:
    (line,) = re.findall(r'^"\$nox" -s (.+)$', read(".ci", "run"), re.MULTILINE)
    assert set(line.split()) <= sessions()


def test_the_changelog_knows_the_version() -> None:
    (version,) = re.findall(r'^version = "(.+)"$', read("pyproject.toml"), re.MULTILINE)
    heading = "## [Unreleased]" if "dev" in version else f"## [{version}]"
    assert heading in read("CHANGELOG.md")
