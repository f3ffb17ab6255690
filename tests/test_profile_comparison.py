"""What is compared of two runs, and when a difference is one."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from profiles import DEVICE, SUBJECT, make_run, spread

from phantom_edge.profile.report.compare import DRAWS, compare, difference, drawn_medians

TIMES = st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=40)
SEEDS = st.integers(0, 2**16)


def test_a_run_and_itself() -> None:
    compared = compare(make_run(), make_run())
    assert {one.ratio for one in compared.stages} == {1.0} and not compared.unlike and not compared.alone
    assert {one.verdict for one in compared.stages} == {"no difference shown"} and not compared.slower
    assert compared.unjudged == ["load"], "measured once"


@settings(max_examples=30, deadline=None)
@given(TIMES)
def test_repeats_beside_themselves(times: list[float]) -> None:
    one = difference("x", times, times)
    assert one.verdict == "no difference shown" and one.ratio == 1
    assert one.low is None or one.low <= 1 <= one.high


@settings(max_examples=20, deadline=None)
@given(SEEDS, st.sampled_from([(1.2, "slower"), (0.8, "faster"), (1.01, "no difference shown")]))
def test_a_change_is_found(seed: int, change: tuple[float, str]) -> None:
    """And one within the margin is not, however sure it is."""
    factor, verdict = change
    one = difference("x", spread(0.01, 30, seed), spread(0.01 * factor, 30, seed + 1))
    assert one.verdict == verdict and one.low <= one.ratio <= one.high
    if factor != 1.01:
        assert one.low < factor < one.high or abs(one.ratio / factor - 1) < 0.02


@settings(max_examples=30, deadline=None)
@given(TIMES, TIMES)
@example([1.0, 1.0, 2.0, 3.0, 1.0, 1.0], [1.0, 1.0, 2.0, 3.0, 1.0, 1.0])
def test_exchanged_runs_exchange_verdicts(first: list[float], later: list[float]) -> None:
    there, back = difference("x", first, later), difference("x", later, first)
    assert back.ratio == pytest.approx(1 / there.ratio)
    assert {there.verdict, back.verdict} in ({"slower", "faster"}, {"no difference shown"})
    assert (there.low is None) == (back.low is None) == (min(len(first), len(later)) < 5)
    if there.low is not None:
        assert (back.low, back.high) == pytest.approx((1 / there.high, 1 / there.low))


@pytest.mark.parametrize("count", [5, 6, 31])
def test_medians_are_those_of_resamples(count: int) -> None:
    """Drawn by their places, they are spread as those of resamples that were made."""
    values, random = np.array(spread(1.0, count, 3)), np.random.default_rng(1)
    made = np.median(values[random.integers(0, count, (DRAWS, count))], axis=1)
    shares = np.linspace(0.05, 0.95, 19)
    quick = drawn_medians(values, random)
    # within two points of probability: three standard errors of a share of 10,000 draws, twice
    below = [np.mean(quick <= place) - np.mean(made <= place) for place in np.quantile(made, shares)]
    assert np.abs(below).max() < 0.02


def test_too_few_repeats_and_a_stopped_clock_say_nothing() -> None:
    for first, later in (([1.0] * 4, [9.0] * 30), ([0.0] * 9, [1.0] * 9), ([1.0] * 9, [0.0] * 9), ([0.0], [0.0])):
        one = difference("x", first, later)
        assert one.verdict == "no difference shown" and one.low is None
    assert difference("x", [1.0] * 9, [1.02] * 9).verdict == "no difference shown"
    assert difference("x", [1.0] * 9, [1.02] * 9, margin=0.01).verdict == "slower"


def test_what_else_differs_is_said() -> None:
    other = replace(
        make_run(),
        subject=replace(SUBJECT, seal="0" * 64, bundle="big", threads=1, tools={"onnxruntime": "1.30.0"}),
        device=replace(DEVICE, name="board"),
        stages=make_run().stages[:3],
        partial="cut off",
    )
    compared = compare(make_run(), other)
    said = "; ".join(compared.unlike)
    for words in ("different bundles: tiny-int8 and big", "threads: 2 and 1", "devices: desk", "1.30.0", "cut off"):
        assert words in said
    assert compared.alone == ("decode",)
    hot = compare(make_run(), replace(make_run(), device=replace(DEVICE, bandwidth=DEVICE.bandwidth / 2)))
    assert hot.unlike == ("the device was busier or hotter one time: 20.0 and 10.0 GB/s of bandwidth were measured",)
    renamed = compare(make_run(), replace(make_run(), subject=replace(SUBJECT, seal="0" * 64)))
    assert renamed.unlike == ("different bundles, both named tiny-int8",)
