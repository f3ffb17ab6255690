"""Verification report as one self-contained HTML file."""

import math
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from phantom_edge.bundle.folder import Bundle
from phantom_edge.bundle.proof import Check, Proof
from phantom_edge.foundation.files import whole_file

TEMPLATE = "report.html"


def write_report(path: Path, bundle: Bundle, proof: Proof) -> None:
    """Writes the report. Raises EdgeError where ``path`` cannot be written."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    page = environment.get_template(TEMPLATE).render(
        bundle=bundle.path.name,
        manifest=bundle.manifest,
        proof=proof,
        rows=proof.by_stage(),
        share=share_of_bound,
    )
    with whole_file(path) as file:
        file.write(page)


def share_of_bound(check: Check) -> float:
    """Fill of a bar, 0 to 100: logarithmic from 1e-4 of the bound up to the bound."""
    if check.value is None or check.bound is None:
        return 100.0
    if check.value <= 0 or check.value >= check.bound:
        return 0.0 if check.value <= 0 else 100.0
    return 100 * max(math.log10(check.value / check.bound) / 4 + 1, 0.0)
