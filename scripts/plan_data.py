"""Write the quality data of the planner, phantom_edge/profile/plan/plan_quality.json, from the last benchmarks.

python scripts/plan_data.py            rewrite it
python scripts/plan_data.py --check    exit 1 where it is out of date
"""

import json
import sys
from pathlib import Path
from typing import Any

from checking import is_check

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "phantom_edge" / "profile" / "plan" / "plan_quality.json"

QUALITY = {
    "fp32": "fp32",
    "fp16": "fp16",
    "int8": "int8",
    "mixed": "mixed",
    "int4": "int4-g32-pos rtn",
    "int4-g64": "int4-g64 rtn",
    "int4-row": "int4-row",
    "int4-exact8": "int4-exact8",
    "fp32, int8 cache": "fp32, int8 cache",
    "int8, int8 cache": "int8, int8 cache",
    "mixed, int8 cache": "mixed, int8 cache",
    "int4, int8 cache": "int4-g32 rtn, int8 cache",
    "int4-g64, int8 cache": "int4-g64 rtn, int8 cache",
}
"""Recipes, and the rows of quality.json that measured them, or what is nearest: scales of any sign, not positive."""

TARGETS = {"lut4": "lut4, coreml ane"}
"""Those that only one target has: rows of targets.json, of fewer questions."""


def document() -> dict[str, Any]:
    """All of it."""
    rows: dict[str, Any] = {}
    for file, wanted in (("quality", QUALITY), ("targets", TARGETS)):
        found = json.loads((ROOT / "benchmarks" / "results" / f"{file}.json").read_text(encoding="utf-8"))
        for recipe, row in wanted.items():
            measured = found["rows"][row]
            rows[recipe] = {
                "points": round(measured["points_lost"], 3),
                "most": round(measured["points_lost_interval"][1], 3),
                "row": row,
                "source": f"benchmarks/results/{file}.json",
                "questions": found["questions"],
            }
    return {"model": "phantom-nano", "rows": rows}


def main() -> None:
    """Write it, or look whether it is as it would be written."""
    check, text = is_check(__doc__), json.dumps(document(), indent=1) + "\n"
    if not check:
        DATA.write_text(text, encoding="utf-8")
    elif not DATA.is_file() or DATA.read_text(encoding="utf-8") != text:
        sys.exit(f"{DATA.relative_to(ROOT)} is out of date; run: python scripts/plan_data.py")


if __name__ == "__main__":
    main()
