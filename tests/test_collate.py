"""Batches: what is learned from is the answer and its end, nothing of prompt, picture or padding."""

from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from phantom_edge.checkpoint.random import config_of
from phantom_edge.checkpoint.random_tokenizer import save_processor
from phantom_edge.data.triples import Triple
from phantom_edge.errors import EdgeError
from phantom_edge.models.sizes import SIZES
from phantom_edge.processing.processor import PhantomProcessor
from phantom_edge.train.collate import Batch, Collator, pairs_of
from phantom_edge.train.objectives import IGNORED

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


triples = st.builds(
    Triple,
    question=words,
    chosen=words,
    rejected=st.lists(words, min_size=1, max_size=2).map(tuple),
    images=st.lists(st.sampled_from(["one.png", "wide.png"]), max_size=2).map(tuple),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.lists(triples, min_size=1, max_size=3))
def test_labels_are_the_answers_and_nothing_else(
    data: list[Triple], processor: PhantomProcessor, pictures: Path
) -> None:
    pairs = pairs_of(data, pictures)
    assert len(pairs) == sum(len(triple.rejected) for triple in data)
    batch = Collator(processor)(pairs)
    assert batch.has_rejected and batch.input_ids.shape[0] == 2 * len(pairs) == 2 * batch.pairs
    answers = [pair.chosen for pair in pairs] + [pair.rejected for pair in pairs]
    for ids, mask, labels, answer in zip(batch.input_ids, batch.attention_mask, batch.labels, answers, strict=True):
        learned = labels != IGNORED
        assert torch.equal(labels[learned], ids[learned])
        assert processor.tokenizer.decode(labels[learned]) == f"{answer}{SIZE.end}"
        assert not learned[mask == 0].any() and not learned[ids == SIZE.image_token].any()
        first = int(learned.int().argmax())
        assert learned[first:].all()  # one run, to the end of the row
        prompt = processor.tokenizer.decode(ids[:first][mask[:first] == 1])
        assert prompt.endswith("<|im_start|>assistant\n") and prompt.startswith("<|im_start|>user\n")
    expected_tiles = sum(
        processor.image_processor(list(pair.images))["pixel_values"].shape[0] for pair in pairs if pair.images
    )
    assert (0 if batch.pixel_values is None else batch.pixel_values.shape[0]) == expected_tiles
    half = batch.input_ids[: batch.pairs] == SIZE.image_token
    assert int(half.sum()) == expected_tiles * SIZE.tokens_per_tile


def test_prompt_is_what_generation_sees(processor: PhantomProcessor, pictures: Path) -> None:
    batch: Batch = Collator(processor)(pairs_of([Triple("what?", "yes", ("no",), ("one.png",))], pictures))
    text = processor.apply_chat_template(
        [{"role": "user", "content": "<image>what?"}], tokenize=False, add_generation_prompt=True
    )
    seen = processor(text=[text], images=[pictures / "one.png"], return_tensors="pt")["input_ids"][0]
    row = batch.input_ids[0][batch.attention_mask[0] == 1]
    assert torch.equal(row[: len(seen)], seen)


def test_without_rejected_answers(processor: PhantomProcessor, pictures: Path) -> None:
    batch = Collator(processor)(pairs_of([Triple("q", "a"), Triple("longer question", "b")], pictures))
    assert not batch.has_rejected and batch.input_ids.shape[0] == 2 and batch.pixel_values is None


def test_what_cannot_be_a_row(processor: PhantomProcessor, pictures: Path) -> None:
    with pytest.raises(EdgeError, match="more than 20"):
        Collator(processor, max_tokens=20)(pairs_of([Triple("a long question", "an answer")], pictures))
    with pytest.raises(EdgeError, match=r"none\.png"):
        Collator(processor)(pairs_of([Triple("q", "a", (), ("none.png",))], pictures))
    with pytest.raises(EdgeError, match="marks"):
        Collator(processor)(pairs_of([Triple("<image> and <image>", "a", (), ("one.png",))], pictures))
