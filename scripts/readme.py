"""Put tables of benchmarks and of the code between their marks in README.md and the pages of docs/.

python scripts/readme.py            rewrite the pages
python scripts/readme.py --check    exit 1 where one is out of date

Between ``<!-- NAME -->`` and ``<!-- end NAME -->`` stands benchmarks/results/NAME.md, which ``python -m
benchmarks.tables`` writes; or a block of ``scripts/reference.py``; or the properties of bundles, from the JSON Schemas,
which ``python scripts/schemas.py`` writes.
"""

import re
import sys
from pathlib import Path

import reference
from bundle_format import properties
from checking import is_check
from results import results

ROOT = Path(__file__).resolve().parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
TABLES = {file.stem: file.read_text(encoding="utf-8") for file in (ROOT / "benchmarks" / "results").glob("*.md")}
TABLES |= {"properties": properties(), "results": results(), **reference.blocks()}
BLOCK = re.compile(r"(<!-- ([\w.-]+) -->\n).*?(<!-- end \2 -->)", re.DOTALL)


def main() -> None:
    """Rewrite or check. Every table stands on one page."""
    check = is_check(__doc__)
    texts = {page: page.read_text(encoding="utf-8") for page in PAGES}
    found = sorted(name for text in texts.values() for _, name, _ in BLOCK.findall(text))
    assert found == sorted(TABLES), f"not on one page each: {sorted({*found} ^ {*TABLES}) or found}"
    for page, text in texts.items():
        after = BLOCK.sub(lambda block: f"{block[1]}{TABLES[block[2]]}{block[3]}", text)
        if not check:
            page.write_text(after, encoding="utf-8")
        elif after != text:
            sys.exit(f"{page.relative_to(ROOT)} is out of date; run: python scripts/readme.py")


if __name__ == "__main__":
    main()
