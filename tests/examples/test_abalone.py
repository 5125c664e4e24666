"""The files of the tutorial on R, beyond what its page runs."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ABALONE = Path(__file__).parents[2] / "examples" / "abalone"


@pytest.mark.skipif(not shutil.which("Rscript"), reason="there is no R here")
def test_the_report_is_made_where_opt_ml_cannot_be_mounted(tmp_path: Path) -> None:
    (tmp_path / "processing" / "input" / "data").mkdir(parents=True)
    (tmp_path / "processing" / "output" / "out").mkdir(parents=True)
    shutil.copy(ABALONE / "abalone.csv", tmp_path / "processing" / "input" / "data")
    environment = {**os.environ, "SMEXEC_OPT_ML": str(tmp_path)}
    subprocess.run(["Rscript", str(ABALONE / "report.R"), "--digits", "2"], env=environment, check=True)
    report = (tmp_path / "processing" / "output" / "out" / "report.csv").read_text()
    assert report.startswith('"sex","animals","rings"\n')
