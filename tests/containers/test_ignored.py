"""What ``.dockerignore`` leaves out, held against podman.

One thing it does otherwise than docker does since BuildKit: below a directory that is left out, it finds
nothing that only a pattern with ``**`` takes again.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from smexec.images.context import context, files

TREE = ("keep", "a", "b.csv", "d/a", "d/b.csv", "d/e/a", "d/e/f/x y", "e/d/a.csv", ".hidden", "d/[z]")


@pytest.mark.parametrize(
    "rules",
    [
        "*.csv",
        "**/*.csv",
        "d\n!d/e",
        "*\n!keep\n!d/e/f",
        "/a\n./b.csv",
        "d/**\n!d/e/a",
        "**\n!d/b.csv",
        "d/?\n.*",
        "d/../e\n# keep",
        "[a-b]*",
        "*/[^a-d]",
        "d/\\[z\\]",
        "!a\na\n  !  keep  ",
    ],
)
def test_what_stays_out_is_what_podman_leaves_out(rules: str, base: str, tmp_path: Path) -> None:
    for name in TREE:
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "tree" / ".dockerignore").write_text(rules + "\n")
    dockerfile = tmp_path / "Dockerfile"
    dockerfile.write_text(
        f"FROM {base}\nCOPY . /tree\nRUN cd /tree && find . -type f -printf 'found %P\\n'\n"
    )
    command = ["podman", "build", "--no-cache", "--file", str(dockerfile), str(tmp_path / "tree")]
    identity = tmp_path / "id"
    built = subprocess.run([*command, "--iidfile", str(identity)], capture_output=True, text=True, check=True)
    subprocess.run(["podman", "rmi", identity.read_text().strip()], check=True, capture_output=True)
    found = {line.removeprefix("found ") for line in built.stdout.splitlines() if line.startswith("found ")}
    taken = context(tmp_path / "tree", ["--file", str(dockerfile)])
    assert {path for path in files(taken) if (tmp_path / "tree" / path).is_file()} == found
