"""``verify --html``: a page for every kind of proof, target and scheme."""

from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import get_args

import pytest
from command_line import edge_inside
from random_checkpoints import TWO_PICTURES, write_questions

from phantom_edge.bundle.folder import Bundle
from phantom_edge.bundle.proof import ABSOLUTE, DIVERGENCE, OTHERS, RELATIVE, Check, Hazard, Layer, Proof, Stage
from phantom_edge.cli.verify import _show
from phantom_edge.export.proof.report import write_report
from phantom_edge.export.targets import TARGETS

MEASURES = (RELATIVE, ABSOLUTE, DIVERGENCE, OTHERS)
VALUES = (None, 0.0, 1e-9, 0.3, 1e300)
BOUNDS = (None, 0.0, 1e-4, 0.3)


def every_check() -> list[Check]:
    """Each measure with each value and bound."""
    pairs = enumerate(product(VALUES, BOUNDS, VALUES, BOUNDS))
    checks = []
    for number, (value, bound, other, limit) in pairs:
        stage = get_args(Stage)[number % len(get_args(Stage))]
        both = ((value, bound), (other, limit))
        checks += [
            Check(stage, f"case {number}", measure, *both[place % 2])  # type: ignore[arg-type]
            for place, measure in enumerate(MEASURES)
            if number % 7 or place != number // 7 % 4  # some measures are absent
        ]
    return checks


def test_every_proof_makes_a_page_and_a_table(bundle: Bundle, tmp_path: Path) -> None:
    checks = tuple(every_check())
    layers = (Layer("decoder", 0, None), Layer("decoder", 1, 31.25))
    hazards = (Hazard("decoder", "add", "Add", 1, 2, 3, 0.1, 0.2),)
    proofs = [Proof(checks, ("too long",), hazards, layers), Proof(checks, ()), Proof((), ())]
    for number, proof in enumerate(proofs):
        write_report(tmp_path / f"{number}.html", bundle, proof)
        _show(bundle.path, proof)
    page = (tmp_path / "0.html").read_text()
    assert "<td>none" in page and "<td>30.0 %" in page and "<td>1e-04" in page and "not finite" in page
    without = replace(checks[0], bound=None)
    write_report(tmp_path / "x.html", bundle, Proof((without,), ()))
    assert 'class="bar"' not in (tmp_path / "x.html").read_text()


def variants() -> list[tuple[str, str, tuple[str, ...]]]:
    """Target, weights and options of the planner's variants; group sizes and caches once for each target."""
    found: dict[tuple[str, str], tuple[str, str, tuple[str, ...]]] = {}
    for target in TARGETS.values():
        for one in target.variants:
            if one.weights.endswith("-g128"):
                continue  # rows of nano are shorter
            for cache in one.caches:
                kind = one.weights.partition("-")[0] if cache == "float" else f"cache {cache}"
                options = (*one.arguments.split(), *(("--cache", cache) if cache != "float" else ()))
                found.setdefault((target.name, kind), (target.name, one.weights, options))
        if not target.variants:
            found[target.name, ""] = (target.name, target.precision, ())
    return list(found.values())


@pytest.mark.long
@pytest.mark.timeout(1800)  # Qualcomm's simulator
@pytest.mark.parametrize(("target", "weights", "options"), variants(), ids=lambda one: str(one))
def test_a_page_for_every_target_and_scheme(
    target: str, weights: str, options: tuple[str, ...], tmp_path: Path
) -> None:
    """Bundles of nano against their own checkpoint; integers also against the float one, where nothing has a bound."""
    if "--calib" in options:
        write_questions(tmp_path, TWO_PICTURES)
        options = tuple(str(tmp_path / "triples.jsonl") if one == "TRIPLES.jsonl" else one for one in options)
    out = tmp_path / "bundle"
    size = ("--max-context", 128, "--prefill-chunk", 32, "--no-verify")
    made = edge_inside("export", "nano", "--target", target, "--weights", weights, *options, *size, "--out", out)
    if made.returncode and ("is not installed" in made.stderr or "cannot import" in made.stderr):
        pytest.skip(made.stderr)
    assert made.returncode == 0, made.stderr
    against = [(), ("--against", "nano")] if weights not in ("fp32", "fp16") else [()]
    for number, arguments in enumerate(against):
        page = tmp_path / f"{number}.html"
        done = edge_inside("verify", out, *arguments, "--html", page)
        if "no engine" in done.stderr or "is not installed" in done.stderr:
            pytest.skip(done.stderr)
        assert "Traceback" not in done.stderr and page.is_file(), done.stderr
        text = page.read_text()
        assert text.rstrip().endswith("</html>") and f"Target {target}" in text and "decode" in text
        assert number == 0 or "<td>none" in text
