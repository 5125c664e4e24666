"""An example, to be changed: the means of the tables in its input `data` go to its output `out`."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from statistics import mean

PROCESSING = Path(os.environ.get("SMEXEC_OPT_ML", "/opt/ml"), "processing")

for path in (PROCESSING / "input" / "data").iterdir():
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    with (PROCESSING / "output" / "out" / path.name).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(
            [name, mean(map(float, column))] for name, column in zip(header, zip(*rows))
        )
