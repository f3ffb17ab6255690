"""Conformance data, made now, by which the tests of apps prove these."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 1200
"""Maximum seconds to make them."""


def write_conformance_data(folder: Path, *options: str) -> None:
    """Write apps/golden/made into ``folder``."""
    words = [sys.executable, str(ROOT / "scripts" / "conformance.py"), str(folder / "made"), *options]
    ran = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert ran.returncode == 0, ran.stderr[-3000:]
