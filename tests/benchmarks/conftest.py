"""Benchmarks are scripts that import their neighbours: their folder is on the path, as when they are run."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent.parent / "benchmarks"))
