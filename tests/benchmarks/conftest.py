from __future__ import annotations

import sys
from pathlib import Path

# At the end of the path: the smexec under test is the one that is installed.
sys.path.append(str(Path(__file__).parents[2]))
