"""The objectives equal the paper's formulas, worked out in plain numpy; masks keep everything else out."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from phantom_edge.train.objectives import (
    OBJECTIVES,
    Preference,
    Scores,
    answer_sums,
    margin,
    token_log_probs,
)

IGNORED = -100
"""Label of a position that is no part of an answer."""

some = settings(max_examples=60, deadline=None)


def numpy_log_prob(logits: NDArray[np.float64], answer: list[tuple[int, int]]) -> float:
    """Sum over (position, id) of log softmax at the position before."""
    total = 0.0
    for position, token in answer:
        row = logits[position - 1]
        total += row[token] - np.log(np.exp(row - row.max()).sum()) - row.max()
    return float(total)


def random_batch(seed: int, rows: int = 3, length: int = 9, vocab: int = 11) -> tuple[Tensor, Tensor, list]:
    """Logits, labels, and the answers as (position, id) lists."""
    random = np.random.default_rng(seed)
    logits = torch.from_numpy(random.normal(0, 3, (rows, length, vocab)))
    labels = torch.full((rows, length), IGNORED)
    answers = []
    for row in range(rows):
        start = int(random.integers(1, length - 1))
        stop = int(random.integers(start + 1, length + 1))
        answer = [(i, int(random.integers(vocab))) for i in range(start, stop)]
        for position, token in answer:
            labels[row, position] = token
        answers.append(answer)
    return logits, labels, answers


def answer_log_probs(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probability and length of each row's answer, by the two functions under test."""
    row, position = (labels != IGNORED).nonzero(as_tuple=True)
    steps = token_log_probs(logits[row, position - 1], labels[row, position])
    return answer_sums(steps, row, len(labels)), answer_sums(torch.ones_like(steps), row, len(labels))


def scores_of(seed: int) -> tuple[Scores, list[dict[str, float]]]:
    """Scores by our code, and per pair the same numbers by numpy."""
    parts, plain = {}, [{} for _ in range(3)]
    for shift, name in enumerate(("chosen", "rejected")):
        logits, labels, answers = random_batch(2 * seed + shift)
        parts[name], parts[f"{name}_tokens"] = answer_log_probs(logits, labels)
        for row, answer in enumerate(answers):
            plain[row][name] = numpy_log_prob(logits[row].numpy(), answer)
            plain[row][f"{name}_tokens"] = len(answer)
    random = np.random.default_rng(seed)
    for name in ("reference_chosen", "reference_rejected"):
        values = random.normal(-20, 5, 3)
        parts[name] = torch.from_numpy(values)
        for row, value in enumerate(values):
            plain[row][name] = float(value)
    return Scores(**parts), plain


def log_sigmoid(x: float) -> float:
    return float(-np.log1p(np.exp(-x)))


@some
@given(seed=st.integers(0, 10**6), beta=st.floats(0.1, 4), gamma=st.floats(0, 2))
def test_equals_numpy(seed: int, beta: float, gamma: float) -> None:
    """In float64 the bound is far above rounding; the project's promise is 1e-6."""
    scores, plain = scores_of(seed)
    sft = -sum(p["chosen"] for p in plain) / sum(p["chosen_tokens"] for p in plain)
    gaps = [p["chosen"] / p["chosen_tokens"] - p["rejected"] / p["rejected_tokens"] for p in plain]
    simpo = -float(np.mean([log_sigmoid(beta * gap - gamma) for gap in gaps]))
    gains = [(p["chosen"] - p["reference_chosen"]) - (p["rejected"] - p["reference_rejected"]) for p in plain]
    dpo = -float(np.mean([log_sigmoid(beta * gain) for gain in gains]))
    preference = Preference(beta, gamma)
    for name, want in {"sft": sft, "simpo": simpo, "po": sft + simpo, "dpo": dpo}.items():
        assert OBJECTIVES[name](scores, preference).item() == pytest.approx(want, abs=1e-6, rel=0), name
    assert margin(scores).tolist() == pytest.approx(gaps, abs=1e-6, rel=0)


@some
@given(seed=st.integers(0, 10**6))
def test_only_the_answer_counts(seed: int) -> None:
    """Logits that predict prompt, picture or padding may be anything; lengths count answer tokens alone."""
    logits, labels, answers = random_batch(seed)
    want = answer_log_probs(logits, labels)
    noisy = logits.clone()
    before_answer = {(row, position - 1) for row, answer in enumerate(answers) for position, _ in answer}
    for row in range(logits.shape[0]):
        for position in range(logits.shape[1]):
            if (row, position) not in before_answer:
                noisy[row, position] = 1e4
    got = answer_log_probs(noisy, labels)
    assert torch.equal(got[0], want[0]) and torch.equal(got[1], want[1])
    assert want[1].tolist() == [len(answer) for answer in answers]


@some
@given(seed=st.integers(0, 10**6), pad=st.integers(0, 5))
def test_padding_changes_nothing(seed: int, pad: int) -> None:
    logits, labels, _ = random_batch(seed)
    want = answer_log_probs(logits, labels)
    for side in ("left", "right"):
        filler = torch.randn(logits.shape[0], pad, logits.shape[2], dtype=logits.dtype)
        ignored = torch.full((labels.shape[0], pad), IGNORED)
        wide = [filler, logits] if side == "left" else [logits, filler]
        marks = [ignored, labels] if side == "left" else [labels, ignored]
        got = answer_log_probs(torch.cat(wide, 1), torch.cat(marks, 1))
        torch.testing.assert_close(got[0], want[0])  # the order of summation may change
        assert torch.equal(got[1], want[1])


@pytest.mark.filterwarnings("ignore")  # trl says that its experimental part is experimental
@some
@given(seed=st.integers(0, 10**6), beta=st.floats(0.1, 4), gamma=st.floats(0, 2))
def test_simpo_equals_that_of_trl(seed: int, beta: float, gamma: float) -> None:
    cpo = pytest.importorskip("trl.experimental.cpo").CPOTrainer
    settings_of_trl = SimpleNamespace(
        alpha=0.0, beta=beta, simpo_gamma=gamma, loss_type="simpo", label_smoothing=0.0, accelerator=torch.tensor(0)
    )
    scores, _ = scores_of(seed)
    assert scores.rejected is not None
    averages = (scores.chosen / scores.chosen_tokens, scores.rejected / scores.rejected_tokens)
    losses, _, _ = cpo.cpo_loss(settings_of_trl, *averages)
    torch.testing.assert_close(OBJECTIVES["simpo"](scores, Preference(beta, gamma)), losses.mean(), atol=1e-6, rtol=0)


@some
@given(seed=st.integers(0, 10**6), cut=st.integers(1, 2), name=st.sampled_from(sorted(OBJECTIVES)))
def test_micro_batches_add_up(seed: int, cut: int, name: str) -> None:
    """With the counts of the whole step, the losses of its parts sum to the loss of the whole."""
    whole, _ = scores_of(seed)
    fields = [key for key, value in vars(whole).items() if value is not None]
    step = {"step_tokens": whole.chosen_tokens.sum(), "step_pairs": torch.tensor(3)}
    parts = [
        Scores(**{key: getattr(whole, key)[piece] for key in fields}, **step) for piece in (slice(cut), slice(cut, 3))
    ]
    got = sum(OBJECTIVES[name](part, Preference()) for part in parts)
    torch.testing.assert_close(got, OBJECTIVES[name](whole, Preference()))


def test_the_gradient_prefers_the_chosen_answer() -> None:
    logits, labels, _ = random_batch(0, rows=2)
    with torch.enable_grad():
        logits.requires_grad_()
        log_probs, tokens = answer_log_probs(logits, labels)
        scores = Scores(log_probs[:1], tokens[:1], log_probs[1:], tokens[1:])
        OBJECTIVES["simpo"](scores, Preference()).backward()
    assert logits.grad is not None
    moved, _ = answer_log_probs(logits - 0.1 * logits.grad, labels)
    assert moved[0] > log_probs[0] and moved[1] < log_probs[1]


def test_empty_answers_are_no_division_by_zero() -> None:
    logits = torch.randn(2, 4, 5)
    log_probs, tokens = answer_log_probs(logits, torch.full((2, 4), IGNORED))
    scores = Scores(log_probs[:1], tokens[:1], log_probs[1:], tokens[1:])
    assert torch.isfinite(OBJECTIVES["po"](scores, Preference()))
