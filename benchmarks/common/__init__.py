"""What the benchmarks share. With it they measure the `npmnv2` of this checkout, not an installed copy."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
