"""Evaluation: figures of answers whose verdict is known, and intervals that hold what they promise."""

import json
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phantom_edge.data.examples import Example, Query, choose, read_examples
from phantom_edge.data.metrics import (
    YesNo,
    exact_match,
    named_share,
    normalise,
    relaxed_match,
    to_number,
    yes_no,
    yes_or_no,
)
from phantom_edge.data.triples import Triple
from phantom_edge.evaluate.answerer import Answerer, Progress
from phantom_edge.evaluate.intervals import Interval, bootstrap, mean_interval
from phantom_edge.evaluate.scores import Score, score
from phantom_edge.foundation.errors import EdgeError

texts = st.text(max_size=20)


@pytest.mark.parametrize(
    ("answer", "gold", "right"),
    [
        ("Yes.", "yes", True),
        ("  RED\n", "red", True),
        ("red .", "red", True),
        ("3.50", "3.5", False),
        ("yes it is", "yes", False),
        ("red..", "red", False),
        ("", "red", False),
        ("ma\u00dfe", "MASSE", True),
    ],
)
def test_exact_match(answer: str, gold: str, right: bool) -> None:
    assert exact_match(answer, gold) is right


@given(text=texts)
def test_exact_match_holds_of_itself(text: str) -> None:
    assert exact_match(text, text) and exact_match(f"  {text.upper().strip()} ", text.upper())
    assert normalise(f" {text}") == normalise(f"{text} ")


@pytest.mark.parametrize(
    ("answer", "gold", "right"),
    [
        ("105", "100", True),
        ("95", "100", True),
        ("105.1", "100", False),
        ("94.9", "100", False),
        ("-96", "-100", True),
        ("96", "-100", False),
        ("0", "0", True),
        ("0.01", "0", False),
        ("1,020", "1000", True),
        ("1,020.5.", "1000", True),
        ("12%", "12 %", True),
        ("12%", "12", False),
        ("0.12", "12%", True),
        ("red", "Red", True),
        ("12 apples", "12", False),
        ("nan", "5", False),
        ("inf", "inf", True),
        ("1,2", "12", False),
        ("", "12", False),
    ],
)
def test_relaxed_match(answer: str, gold: str, right: bool) -> None:
    assert relaxed_match(answer, gold) is right


@given(number=st.floats(-1e9, 1e9).filter(lambda x: abs(x) > 1e-3), share=st.floats(-0.2, 0.2))
def test_relaxed_match_is_five_per_cent(number: float, share: float) -> None:
    gold, answer = f"{number:.9f}", f"{number * (1 + share):.9f}"
    off = abs(float(answer) - float(gold)) / abs(float(gold))
    if abs(off - 0.05) > 1e-6:
        assert relaxed_match(answer, gold) is (off < 0.05)


@given(text=texts)
def test_to_number_never_raises(text: str) -> None:
    number = to_number(text)
    assert number is None or np.isfinite(number)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("Yes", "yes"),
        ("No", "no"),
        ("no, there is none", "no"),
        ("There is not.", "no"),
        ("Yes. No doubt.", "yes"),
        ("I see a nose", "yes"),
        ("nothing", "yes"),
        ("", "yes"),
    ],
)
def test_yes_or_no(answer: str, said: str) -> None:
    assert yes_or_no(answer) == said


def test_yes_no_figures() -> None:
    golds = ["yes"] * 5 + ["no"] * 5
    answers = ["yes"] * 3 + ["no"] * 2 + ["yes"] + ["no"] * 4  # 3 hits, 2 misses, 1 false alarm
    assert yes_no(answers, golds) == YesNo(precision=3 / 4, recall=3 / 5, f1=6 / 9, yes_ratio=0.4)
    assert yes_no(["no"], ["no"]) == YesNo(0.0, 0.0, 0.0, 0.0)


@settings(deadline=None)
@given(pairs=st.lists(st.tuples(st.sampled_from(["yes", "no"]), st.sampled_from(["yes", "no"])), min_size=1))
def test_yes_no_figures_are_scikit_learns(pairs: list[tuple[str, str]]) -> None:
    from sklearn.metrics import precision_recall_fscore_support

    answers, golds = zip(*pairs, strict=True)
    theirs = precision_recall_fscore_support(golds, answers, pos_label="yes", average="binary", zero_division=0)
    ours = yes_no(answers, golds)
    assert (ours.precision, ours.recall, ours.f1) == pytest.approx(theirs[:3])


@pytest.mark.parametrize(
    ("answer", "share"),
    [
        ("a red star, a dial and an arrow", 1.0),
        ("An arrow, a red star, and a dial.", 1.0),
        ("a red star and a dial", 2 / 3),
        ("a red star, a dial, an arrow and a card", 3 / 4),
        ("a red star, a red star and a red star", 1 / 3),
        ("a blue star, a dial and an arrow", 2 / 3),
        ("", 0.0),
    ],
)
def test_named_share(answer: str, share: float) -> None:
    assert named_share(answer, "a red star, a dial and an arrow") == pytest.approx(share)


@given(items=st.lists(st.sampled_from(["a red star", "a dial", "an arrow", "a sign"]), min_size=1, max_size=6))
def test_named_share_ignores_order(items: list[str]) -> None:
    gold = ", ".join(items[:-1]) + " and " + items[-1] if len(items) > 1 else items[0]
    assert named_share(", ".join(reversed(items)), gold) == 1.0


def pictures(random_: np.random.Generator, number: int, truth: float) -> tuple[np.ndarray, np.ndarray]:
    """Right or wrong of 8 questions to each picture; pictures differ in how hard they are, around ``truth``."""
    hardness = random_.beta(truth * 4, (1 - truth) * 4, size=number)
    right = random_.random((number, 8)) < hardness[:, None]
    return right.astype(float).ravel(), np.repeat(np.arange(number), 8)


def coverage(evaluations: int, clustered: bool, seed: int) -> float:
    """How often the interval of 60 pictures with 8 questions each holds the truth."""
    random_ = np.random.default_rng(seed)
    hits = 0
    for number in range(evaluations):
        values, clusters = pictures(random_, 60, 0.6)
        interval = mean_interval(values, clusters if clustered else np.arange(len(values)), draws=400, seed=number)
        hits += interval.low <= 0.6 <= interval.high
    return hits / evaluations


def test_intervals_cover_the_truth_95_times_in_a_hundred() -> None:
    """Of 1,000 evaluations 95 % +- 2.3 % (3.3 standard errors). Were the eight questions of a picture taken for
    independent, the intervals would be far too narrow."""
    assert coverage(1000, True, seed=11) == pytest.approx(0.95, abs=0.023)
    assert coverage(200, False, seed=12) < 0.85


def test_intervals_of_no_spread() -> None:
    """All right: the exact binomial bound over pictures, 0.025 ** (1 / pictures)."""
    clusters = np.repeat(np.arange(10), 3)
    assert mean_interval(np.ones(30), clusters) == Interval(pytest.approx(0.6915, abs=1e-4), 1.0)
    assert mean_interval(np.zeros(30), clusters) == Interval(0.0, pytest.approx(0.3085, abs=1e-4))
    assert mean_interval(np.ones(1), np.zeros(1, int)).low == pytest.approx(0.025)


def test_intervals_are_reproducible_and_know_no_order() -> None:
    values, clusters = pictures(np.random.default_rng(1), 40, 0.3)
    first = mean_interval(values, clusters)
    assert first == mean_interval(values, clusters) != mean_interval(values, clusters, seed=1)
    assert first == mean_interval(values, clusters * 7 + 3)
    assert first.low < values.mean() < first.high


def test_bootstrap_of_a_mean_is_the_normal_one() -> None:
    """Of many independent pictures the interval is mean +- 1.96 standard errors; 3 % of a width for 20,000 draws."""
    values = np.random.default_rng(3).random(2000)
    sums = np.stack([values, np.ones(2000)], axis=1)
    interval = bootstrap(sums, lambda totals: totals[:, 0] / totals[:, 1], draws=20_000)
    half = 1.96 * values.std() / np.sqrt(2000)
    assert interval.low == pytest.approx(values.mean() - half, abs=0.06 * half)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.06 * half)


class Known:
    """Answers from a book; everything else with "?"."""

    def __init__(self, book: dict[Query, str]) -> None:
        self.book = book

    def answer(self, queries: Sequence[Query], progress: Progress) -> list[str]:
        progress(len(queries))
        return [self.book.get(query, "?") for query in queries]


def data() -> list[Example]:
    """10 pictures: existence (6 yes, 4 no), count (always 3 but once 2), and a description."""
    examples = []
    for number in range(10):
        picture = (Path(f"{number}.png"),)
        examples += [
            Example("Is there a dial?", "yes" if number < 6 else "no", picture, "existence"),
            Example("How many?", "3" if number else "2", picture, "count"),
            Example("Describe.", "a red star and a dial" if number % 2 else "a card", picture, "describe"),
        ]
    return examples


def test_a_known_answerer_gets_the_known_figures() -> None:
    examples = data()
    book = {e.query: e.gold for e in examples}
    wrong = [e for e in examples if e.kind == "existence"][:2]  # two misses
    wrong += [e for e in examples if e.kind == "existence"][6:7]  # one false alarm
    book.update({e.query: "No." if e.gold == "yes" else "Yes" for e in wrong})
    for e in [e for e in examples if e.kind == "count"][:5]:
        book[e.query] = "4"
    for e in [e for e in examples if e.kind == "describe" and "star" in e.gold]:
        book[e.query] = "a dial and a blue star"
    answerer: Answerer = Known(book)
    told: list[int] = []
    scores = score(examples, answerer.answer([e.query for e in examples], told.append))
    assert told == [30]
    existence, count, describe = scores.kinds
    assert (existence.kind, existence.questions, existence.pictures, existence.right) == ("existence", 10, 10, 7)
    assert existence.accuracy.value == 0.7 and existence.chance == 0.6 and existence.chance_answer == "yes"
    assert existence.yes_no == YesNo(precision=4 / 5, recall=4 / 6, f1=8 / 11, yes_ratio=0.5)
    assert existence.f1 is not None and existence.f1.low < 8 / 11 < existence.f1.high
    assert (count.right, count.chance, count.chance_answer, count.yes_no) == (5, 0.9, "3", None)
    assert describe.right == 5 and describe.chance == 0.5
    assert describe.named is not None and describe.named.value == pytest.approx(0.75)  # half of five, all of five
    assert count.named is None and existence.named is None
    overall = scores.overall
    assert (overall.questions, overall.pictures, overall.right) == (30, 10, 17)
    assert overall.accuracy.value == pytest.approx(17 / 30) and overall.chance == pytest.approx(20 / 30)
    for part in (*scores.kinds, overall):
        assert part.accuracy.interval.low <= part.accuracy.value <= part.accuracy.interval.high


def test_chance_is_what_a_constant_answerer_gets() -> None:
    """The chance level of each kind is the accuracy of an answerer that only says its commonest answer."""
    examples = data()
    levels = {part.kind: part for part in score(examples, ["?"] * 30).kinds}
    book = {e.query: str(levels[e.kind].chance_answer) for e in examples}
    constant = score(examples, Known(book).answer([e.query for e in examples], lambda _: None))
    assert {p.kind: p.accuracy.value for p in constant.kinds} == {kind: p.chance for kind, p in levels.items()}
    assert constant.overall.accuracy.value == pytest.approx(constant.overall.chance)


def test_order_changes_no_figure() -> None:
    examples = data()
    answers = ["3", "yes", "a card"] * 10
    both = list(zip(examples, answers, strict=True))
    before = score(examples, answers)
    random.Random(2).shuffle(both)
    after = score(*zip(*both, strict=True))

    def figures(part: Score) -> tuple[object, ...]:
        return part.questions, part.right, part.chance, part.accuracy.value

    assert {p.kind: figures(p) for p in before.kinds} == {p.kind: figures(p) for p in after.kinds}


def test_questions_without_picture_count_each_for_themselves() -> None:
    scores = score([Example(str(n), "a") for n in range(20)], ["a"] * 10 + ["b"] * 10)
    assert scores.overall.pictures == 20 and scores.kinds[0].kind == "-"


def write(folder: Path, triples: Sequence[Triple], present: Sequence[str]) -> Path:
    for name in present:
        (folder / name).write_bytes(b"x")
    file = folder / "d.jsonl"
    file.write_text("".join(triple.to_json() + "\n" for triple in triples))
    return file


def test_reading_a_data_file(tmp_path: Path) -> None:
    lines = [Triple("q", "a", ("b",), (name,), "k") for name in ("1.png", "2.png", "1.png")] + [Triple("t", "a")]
    read = read_examples(write(tmp_path, lines, ["1.png"]))
    assert read.without_picture == 1
    assert read.found == [Example("q", "a", (tmp_path / "1.png",), "k")] * 2 + [Example("t", "a")]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder / "none.jsonl", "there is no file"),
        (lambda folder: folder, "is a folder"),
        (lambda folder: write(folder, [], []), "holds no question"),
        (lambda folder: write(folder, [Triple("q", "a", (), ("1.png",))], []), "every picture of .* is missing"),
    ],
)
def test_data_that_cannot_be_asked(tmp_path: Path, make: object, message: str) -> None:
    assert callable(make)
    with pytest.raises(EdgeError, match=message):
        read_examples(make(tmp_path))


def test_choosing() -> None:
    examples = data()
    assert choose(examples) == examples
    assert [e.kind for e in choose(examples, ["count"])] == ["count"] * 10
    some = choose(examples, limit=10)
    assert len(some) == 12 and len({e.images for e in some}) == 4  # whole pictures, 3 questions each
    assert some == [e for e in examples if e in some] == choose(examples, limit=10)
    assert some != choose(examples, limit=10, seed=1)
    assert len(choose(examples, ["count", "describe"], limit=3)) == 4
    assert choose(examples, limit=1000) == examples
    assert len(choose([Example(str(n), "a") for n in range(50)], limit=7)) == 7
    with pytest.raises(EdgeError, match="there is no kind colour, nope") as error:
        choose(examples, ["count", "colour", "nope"])
    assert error.value.remedy == "choose from: existence, count, describe"


def test_a_report_is_json(tmp_path: Path) -> None:
    from phantom_edge.evaluate.record import Run, report, write

    examples, answers = data(), ["yes", "3", "a card"] * 10
    run = Run("m", "d", 30, 2, 1.5, {"limit": None})
    scores = score(examples, answers)
    write(tmp_path, run, scores, examples, answers)
    document = json.loads((tmp_path / "report.json").read_text())
    assert document == json.loads(json.dumps(report(run, scores)))
    assert document["kinds"]["count"]["accuracy"]["value"] == 0.9 and document["questions_without_picture"] == 2
    lines = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert len(lines) == 30 and sum(line["right"] for line in lines) == scores.overall.right
    assert lines[0] == {
        "kind": "existence",
        "image": ["0.png"],
        "question": "Is there a dial?",
        "gold": "yes",
        "answer": "yes",
        "right": True,
    }
    assert (tmp_path / "chart.png").read_bytes().startswith(b"\x89PNG")
