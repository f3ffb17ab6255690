"""What float16 breaks is seen at the operation that breaks it, and what is sound is not accused."""

from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("coremltools")

from mil_programs import FP16, mb, only, package

from phantom_edge.export.interpreters.mil import Hazard, Hazards, Interpreter

half = np.float16


def watched(
    path: Path, shape: tuple[int, ...], body: Any, x: torch.Tensor, mode: str = "fp16"
) -> tuple[Any, list[Hazard]]:
    hazards = Hazards()
    made = package(Path(mkdtemp(dir=path)) / "p.mlpackage", {"x": (shape, FP16)}, body)
    found = Interpreter(made, mode=mode, watch=hazards).run({"x": x})  # type: ignore[arg-type]
    return only(found), hazards.table()


def rms_norm(x):
    mean = mb.reduce_mean(x=mb.pow(x=x, y=half(2), name="squares"), axes=[-1], keep_dims=True)
    return mb.mul(x=x, y=mb.rsqrt(x=mb.add(x=mean, y=half(1e-6))), name="scaled")


def test_manual_rms_norm_overflows_at_its_squares(tmp_path: Path) -> None:
    x = torch.full((1, 8), 300.0)
    _, found = watched(tmp_path, (1, 8), rms_norm, x)
    first = next(one for one in found if one.overflows)
    assert (first.name, first.type, first.overflows, first.largest) == ("squares", "pow", 8, 90000)
    assert {one.name for one in found if one.overflows} == {"squares"}, "infinity that came in is not counted again"
    assert watched(tmp_path, (1, 8), rms_norm, x / 2)[1] == []


def test_exact_mode_sees_what_would_overflow(tmp_path: Path) -> None:
    found, table = watched(tmp_path, (1, 8), rms_norm, torch.full((1, 8), 300.0), "exact")
    torch.testing.assert_close(found, torch.ones(1, 8))
    assert {one.name for one in table if one.overflows} >= {"squares"}


def test_layer_norm_of_both_signs_is_sound_unless_it_squares_in_half(tmp_path: Path) -> None:
    def body(x):
        both = mb.concat(values=[x, mb.mul(x=x, y=half(-1))], axis=-1)
        return mb.layer_norm(x=both, axes=[-1], name="norm")

    x = torch.full((1, 8), 300.0)
    assert watched(tmp_path, (1, 8), body, x)[1] == []
    (worst, *_) = watched(tmp_path, (1, 8), body, x, "strict")[1]
    assert worst.name == "norm" and worst.overflows


@pytest.mark.parametrize("is_attention", [False, True])
def test_masked_rows(tmp_path: Path, is_attention: bool) -> None:
    def masked_by(value: float):
        mask = np.zeros((1, 2, 4), half)
        mask[:, 1] = value

        def body(x):
            if is_attention:
                return mb.scaled_dot_product_attention(query=x, key=x4(x), value=x4(x), attn_mask=mask, name="soft")
            scores = mb.matmul(x=x, y=x4(x), transpose_y=True)
            return mb.softmax(x=mb.add(x=scores, y=mask), name="soft")

        return body

    def x4(x):
        return mb.concat(values=[x, x], axis=1)

    x = torch.linspace(-1, 1, 6).reshape(1, 2, 3)
    found, (worst,) = watched(tmp_path, (1, 2, 3), masked_by(-np.inf), x)
    assert found[:, 1].isnan().all() and not found[:, 0].isnan().any()
    assert (worst.name, worst.masked_rows, worst.nans) == ("soft", 1, found[:, 1].numel())
    found, (worst,) = watched(tmp_path, (1, 2, 3), masked_by(-4e4), x)
    assert found.isfinite().all()
    assert (worst.name, worst.masked_rows, worst.nans, worst.overflows) == ("soft", 1, 0, 0)
    assert watched(tmp_path, (1, 2, 3), masked_by(0), x)[1] == []


def test_small_factors_flush_to_zero(tmp_path: Path) -> None:
    """As a phantom's eta of 1e-4 does."""

    def body(x):
        return mb.mul(x=mb.mul(x=x, y=half(1e-4), name="once"), y=half(1e-4), name="twice")

    x = torch.linspace(0.15, 0.5, 100).reshape(1, 100)
    found, table = watched(tmp_path, (1, 100), body, x)
    assert found.count_nonzero() == 0
    assert [(one.name, one.flushed_share > 0.9) for one in table[:2]] == [("twice", True), ("once", False)]
    assert next(one for one in table if one.name == "once").subnormal_share == 1


def test_counts_add_up_over_runs(tmp_path: Path) -> None:
    hazards = Hazards()
    made = package(tmp_path / "p.mlpackage", {"x": ((2,), FP16)}, lambda x: mb.exp(x=x, name="e"))
    interpreter = Interpreter(made, watch=hazards)
    for x in ([12.0, 1.0], [200.0, -20.0]):
        interpreter.run({"x": torch.tensor(x)})
    (one,) = hazards.table()
    assert (one.elements, one.overflows, one.flushed, one.nans) == (4, 2, 1, 0)
