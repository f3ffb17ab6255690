"""Trials of bundles for ONNX Runtime Web: every graph runs, in the form of its engine."""

from dataclasses import replace
from functools import partial

from phantom_edge.bundle.folder import Bundle
from phantom_edge.export.targets.onnx.engine import OrtEngine
from phantom_edge.export.targets.onnx.exact import ExactEngine
from phantom_edge.export.targets.trials import Trial, trials
from phantom_edge.export.targets.web.engine import KINDS, FirstRowEngine
from phantom_edge.export.targets.web.facts import WASM, WEBGPU, forms_of
from phantom_edge.reference import Reference


class ExactFirstRowEngine(FirstRowEngine, ExactEngine):
    """A FirstRowEngine that rounds no activation."""


EXACT: dict[str, type[OrtEngine]] = {WASM: ExactEngine, WEBGPU: ExactFirstRowEngine}
"""Engines by form that round no activation."""


def exact(bundle: Bundle, reference: Reference, *, strict: bool) -> list[Trial]:
    """See Exact."""
    found = []
    for name in forms_of(bundle):
        engines = (partial(_engine, kind, name) for kind in (KINDS[name], EXACT[name]))
        found += [replace(trial, form=name) for trial in trials(bundle, reference, *engines)]
    return found


def _engine(kind: type[OrtEngine], form: str, bundle: Bundle, threads: int) -> OrtEngine:
    return kind(forms_of(bundle)[form], threads)
