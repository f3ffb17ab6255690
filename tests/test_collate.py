"""Batches: a row computes what its questions would one by one, and what is learned from is the answers alone."""

from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from phantom_edge.checkpoint.pretrained import PhantomForConditionalGeneration
from phantom_edge.convert.random import config_of
from phantom_edge.convert.random_tokenizer import save_processor
from phantom_edge.data.rows import Sample
from phantom_edge.data.triples import Triple
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.models.sizes import SIZES
from phantom_edge.processing.processor import PhantomProcessor
from phantom_edge.train.collate import Collator, Group, Pair, branch_mask, groups_of
from phantom_edge.train.objectives import token_log_probs
from phantom_edge.train.trainer import read_targets, scores_of

SIZE = SIZES["tiny"]
words = st.text(alphabet="abc é🙂\n", min_size=1, max_size=12)


@pytest.fixture(scope="module")
def processor(tmp_path_factory: pytest.TempPathFactory) -> PhantomProcessor:
    folder = tmp_path_factory.mktemp("collate")
    config = config_of(SIZE)
    config.save_pretrained(folder)
    save_processor(SIZE, config, folder)
    return PhantomProcessor.from_pretrained(folder)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    Image.new("RGB", (100, 100), "red").save(folder / "one.png")
    Image.new("RGB", (300, 100), "blue").save(folder / "wide.png")
    return folder


@pytest.fixture(scope="module")
def model() -> PhantomForConditionalGeneration:
    torch.manual_seed(0)
    made = PhantomForConditionalGeneration(config_of(SIZE, eta=1.0)).eval()
    with torch.no_grad():
        for weight in made.parameters():
            weight.normal_(std=0.1) if weight.ndim > 1 else weight.add_(torch.randn_like(weight) * 0.1)
    return made


triples = st.builds(
    Triple,
    question=words,
    chosen=words,
    rejected=st.lists(words, min_size=1, max_size=2).map(tuple),
    images=st.sampled_from([(), ("one.png",), ("wide.png",), ("one.png", "wide.png")]),
)
without_fixture_check = [HealthCheck.function_scoped_fixture]


def in_groups(data: list[Triple], folder: Path, most: int = 16) -> list[Group]:
    return list(groups_of((Sample(line, tuple(folder / name for name in line.images)) for line in data), most))


def prompt_of(processor: PhantomProcessor, question: str, images: list[Path]) -> tuple[list[int], torch.Tensor | None]:
    """What generation would see."""
    text = processor.apply_chat_template(
        [{"role": "user", "content": "<image>" * len(images) + question}], tokenize=False, add_generation_prompt=True
    )
    seen = processor(text=[text], images=[images] if images else None, return_tensors="pt")
    return seen["input_ids"][0].tolist(), seen.get("pixel_values")


@settings(max_examples=25, deadline=None, suppress_health_check=without_fixture_check)
@given(data=st.lists(triples, min_size=1, max_size=4))
def test_a_row_equals_its_questions_one_by_one(
    data: list[Triple], processor: PhantomProcessor, pictures: Path, model: PhantomForConditionalGeneration
) -> None:
    """Log-probabilities of every answer, chosen and rejected, against one plain forward for each: float32 rounding."""
    groups = in_groups(data, pictures)
    batch = Collator(processor)(groups)
    with torch.no_grad():
        log_probs, right = read_targets(model, batch)
    scores = scores_of(batch, log_probs)
    pairs = [(pair, group) for group in groups for pair in group.pairs]
    assert len(pairs) == sum(len(triple.rejected) for triple in data) == len(batch["chosen"])
    for number, (pair, group) in enumerate(pairs):
        prompt, pixels = prompt_of(processor, pair.question, [Path(str(image)) for image in group.images])
        for side, answer in (("chosen", pair.chosen), ("rejected", pair.rejected)):
            ids = processor.tokenizer(f"{answer}{SIZE.end}", add_special_tokens=False)["input_ids"]
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([prompt + ids]), pixel_values=pixels).logits[0]
            plain = token_log_probs(logits[len(prompt) - 1 : -1], torch.tensor(ids))
            assert getattr(scores, side)[number].item() == pytest.approx(plain.sum().item(), abs=2e-3, rel=1e-5)
            assert getattr(scores, f"{side}_tokens")[number] == len(ids)
            greedy = logits[len(prompt) - 1 : -1].argmax(-1).tolist() == ids
            assert bool(right[batch[side][number]]) == greedy  # type: ignore[literal-required]


def test_every_answer_is_seen_by_itself_alone(
    processor: PhantomProcessor, pictures: Path, model: PhantomForConditionalGeneration
) -> None:
    """Other questions and other answers of the row may say anything."""

    def chosen_of(pairs: tuple[Pair, ...]) -> torch.Tensor:
        batch = Collator(processor)([Group((pictures / "one.png",), pairs)])
        with torch.no_grad():
            return scores_of(batch, read_targets(model, batch)[0]).chosen

    here = Pair("what?", "yes", "no")
    want = chosen_of((here,))[0]
    got = chosen_of((Pair("loud noise", "bang bang", "boom"), here, Pair("what", "yes", "never")))[1]
    assert got.item() == pytest.approx(want.item(), abs=1e-4)
    assert chosen_of((Pair("what?", "yes", "completely other words"),))[0] == pytest.approx(want.item(), abs=1e-4)


@settings(max_examples=40, deadline=None, suppress_health_check=without_fixture_check)
@given(data=st.lists(triples, min_size=1, max_size=4))
def test_targets_are_the_answers_and_nothing_else(
    data: list[Triple], processor: PhantomProcessor, pictures: Path
) -> None:
    groups = in_groups(data, pictures)
    batch = Collator(processor)(groups)
    said = [processor.tokenizer.decode(batch["target_id"][batch["target_answer"] == n]) for n in range(len(data) * 9)]
    pairs = [pair for group in groups for pair in group.pairs]
    assert [said[n] for n in batch["chosen"]] == [f"{pair.chosen}{SIZE.end}" for pair in pairs]
    assert [said[n] for n in batch["rejected"]] == [f"{pair.rejected}{SIZE.end}" for pair in pairs]
    sources = batch["input_ids"][batch["target_row"], batch["target_from"]]
    assert not (sources == SIZE.image_token).any()
    assert (batch["questions"][batch["target_row"], batch["target_from"]] > 0).all()  # no trunk, no padding
    tiles = sum(
        processor.image_processor(list(group.images))["pixel_values"].shape[0] for group in groups if group.images
    )
    assert (batch["pixel_values"].shape[0] if tiles else 0) == tiles
    assert int((batch["input_ids"] == SIZE.image_token).sum()) == tiles * SIZE.tokens_per_tile


def test_what_pairs_share_is_there_once(processor: PhantomProcessor, pictures: Path) -> None:
    """Three rejected answers make three pairs, of one question and one chosen answer."""
    triple = Triple("what colour?", "bright red", ("blue", "green", "dark red"), ("one.png",))
    one = Collator(processor)(in_groups([Triple("what colour?", "bright red", ("blue",), ("one.png",))], pictures))
    three = Collator(processor)(in_groups([triple], pictures))
    more = sum(len(processor.tokenizer(f"{text}{SIZE.end}")["input_ids"]) for text in ("green", "dark red"))
    assert three["input_ids"].shape[1] == one["input_ids"].shape[1] + more
    assert len(set(three["chosen"].tolist())) == 1 and len(set(three["rejected"].tolist())) == 3


def test_groups_keep_order_and_bounds(pictures: Path) -> None:
    lines = [Triple(f"q{n}", "a", ("b", "c"), ("one.png",) if n < 5 else ("wide.png",)) for n in range(7)]
    lines.append(Triple("<image> here", "a", ("b",), ("wide.png",)))
    groups = in_groups(lines, pictures, most=4)
    assert [len(group.pairs) for group in groups] == [4, 4, 2, 4, 1]
    assert [pair.question for group in groups for pair in group.pairs][::2] == [
        *(line.question for line in lines[:7]),
        "<image> here",
    ]
    assert groups[0].images == (pictures / "one.png",) and groups[-1].images == (pictures / "wide.png",)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6), window=st.one_of(st.none(), st.integers(1, 6)))
def test_mask_against_its_definition(seed: int, window: int | None) -> None:
    random = torch.Generator().manual_seed(seed)
    questions = torch.randint(-1, 3, (2, 8), generator=random)
    answers = torch.randint(-1, 3, (2, 8), generator=random)
    positions = torch.randint(0, 9, (2, 8), generator=random)
    mask = branch_mask(questions, answers, positions, window)
    assert mask.shape == (2, 1, 8, 8)
    for row in range(2):
        for i in range(8):
            for j in range(8):
                on_branch = all(int(b[row, j]) in (0, int(b[row, i])) for b in (questions, answers))
                near = window is None or int(positions[row, i] - positions[row, j]) < window
                assert bool(mask[row, 0, i, j]) == (i == j or (j < i and on_branch and near))


def test_without_rejected_answers(processor: PhantomProcessor, pictures: Path) -> None:
    data = [Triple("q", "a"), Triple("longer question", "b", (), ("one.png",))]
    batch = Collator(processor)(in_groups(data, pictures))
    assert "rejected" not in batch and batch["input_ids"].shape[0] == 2 and len(batch["chosen"]) == 2


def test_what_cannot_be_a_row(processor: PhantomProcessor, pictures: Path) -> None:
    def collate(triple: Triple, max_tokens: int = 4096) -> None:
        Collator(processor, max_tokens)(in_groups([triple], pictures))

    with pytest.raises(EdgeError, match="more than 20"):
        collate(Triple("a long question", "an answer"), 20)
    with pytest.raises(EdgeError, match=r"none\.png"):
        collate(Triple("q", "a", (), ("none.png",)))
    with pytest.raises(EdgeError, match="marks"):
        collate(Triple("<image> and <image>", "a", (), ("one.png",)))
