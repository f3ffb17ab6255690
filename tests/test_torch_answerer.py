"""The reference model as an answerer: batched answers are those of generate one by one, and no picture is seen twice.

Float32, eta 1.0: with random weights every part of the phantom branch and every image token decides about the answer.
"""

from pathlib import Path

import pytest
import torch
from golden_checkpoints import Golden
from noise import noise

from phantom_edge.checkpoint.pretrained import PhantomForConditionalGeneration
from phantom_edge.convert.random import write_random
from phantom_edge.data.examples import Query
from phantom_edge.evaluate.answerer import Answerer
from phantom_edge.evaluate.torch_answerer import TorchAnswerer, moderate_batch
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.generate import Sampling, load, make_inputs
from phantom_edge.models.sizes import SIZES
from phantom_edge.processing.processor import PhantomProcessor
from phantom_edge.processing.tiling import Tiling

Loaded = tuple[PhantomForConditionalGeneration, PhantomProcessor]
NEW = 9


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    folder = tmp_path_factory.mktemp("tiny") / "tiny"
    write_random(SIZES["tiny"], folder, seed=5, eta=1.0)
    return load(str(folder), torch.float32)


@pytest.fixture(scope="module")
def queries(tmp_path_factory: pytest.TempPathFactory) -> list[Query]:
    """Pictures of 1, 5 and 7 tiles, as files and as bytes; two pictures at once; marks in the text; no picture."""
    folder = tmp_path_factory.mktemp("pictures")
    paths = []
    for number, size in enumerate(((90, 90), (224, 224), (300, 200))):
        path = folder / f"{number}.png"
        noise(size, 40 + 20 * number).save(path)
        paths.append(path)
    sets = [(paths[0],), (paths[1],), (paths[2].read_bytes(),), (paths[2], paths[0])]
    questions = ["what?", "Is there a red star in the picture?", "what?", "How many?"]
    asked = [Query(question, images) for images in sets for question in questions]
    asked += [Query("<image> is this it?", (paths[0],)), Query("here <image> or there <image>?", (paths[1], paths[0]))]
    return [*asked, Query("What is two and two?"), Query("hi"), Query("and this <image>, is it?", (paths[0],))]


def one_by_one(loaded: Loaded, queries: list[Query]) -> list[list[int]]:
    """What generate answers to each query alone, as tokens."""
    model, processor = loaded
    answers = []
    for query in queries:
        inputs = make_inputs(model, processor, query.question, query.images)
        out = model.generate(**inputs, generation_config=Sampling(max_new_tokens=NEW).generation_config(model))
        answers.append(out[0, inputs["input_ids"].shape[1] :].tolist())
    return answers


def as_texts(loaded: Loaded, answers: list[list[int]]) -> list[str]:
    return [loaded[1].tokenizer.decode(answer, skip_special_tokens=True) for answer in answers]


@pytest.mark.parametrize("batch", [None, 1, 3, 7])
def test_batches_answer_as_generate_does_one_by_one(tiny: Loaded, queries: list[Query], batch: int | None) -> None:
    expected = as_texts(tiny, one_by_one(tiny, queries))
    assert len(set(expected)) > len(queries) // 2  # the answers differ, so that a mixed-up order would show
    told: list[int] = []
    answerer: Answerer = TorchAnswerer(*tiny, batch, NEW)
    assert answerer.answer(queries, told.append) == expected
    assert sum(told) == len(queries) and (batch is None or max(told) <= batch)


def stops_at_many_lengths(answers: list[list[int]]) -> list[int]:
    """Tokens of ``answers`` that end them at as many lengths as can be, one by one; some answer has none of them."""

    def lengths(stops: list[int]) -> set[int]:
        return {next((at + 1 for at, token in enumerate(one) if token in stops), len(one)) for one in answers}

    stops: list[int] = []
    while True:
        more = [[*stops, token] for one in answers for token in one if NEW in lengths([*stops, token])]
        best = max(more, key=lambda tried: len(lengths(tried)), default=stops)
        if len(lengths(best)) <= len(lengths(stops)):
            return stops
        stops = best


def test_rows_that_end_early_leave_the_others_alone(tiny: Loaded, queries: list[Query]) -> None:
    """Stop tokens that the model gives at different places: rows leave the batch one after the other."""
    model, processor = tiny
    before = model.config.eos_token_id
    free = one_by_one(tiny, queries)
    model.config.eos_token_id = stops_at_many_lengths(free)
    try:
        expected = one_by_one(tiny, queries)
        lengths = {len(answer) for answer in expected}
        assert len(lengths) >= 5 and NEW in lengths, lengths
        texts = as_texts(tiny, [[token for token in one if token not in model.config.eos_token_id] for one in expected])
        for batch in (3, 64):
            assert TorchAnswerer(model, processor, batch, NEW).answer(queries) == texts
    finally:
        model.config.eos_token_id = before


def test_every_picture_is_looked_at_once(tiny: Loaded, queries: list[Query], monkeypatch: pytest.MonkeyPatch) -> None:
    model, processor = tiny
    seen: list[int] = []
    look = model.get_image_features

    def counted(pixel_values: torch.Tensor, **options: bool) -> object:
        seen.append(len(pixel_values))
        return look(pixel_values, **options)

    monkeypatch.setattr(model, "get_image_features", counted)
    some = [query for query in queries if len(query.images) == 1]
    TorchAnswerer(model, processor, 64, 2).answer(some)
    tiles = [len(processor.image_processor([p])["pixel_values"]) for p in {p for query in some for p in query.images}]
    assert sum(seen) == sum(tiles) and len(some) > 2 * len(tiles)


@pytest.mark.parametrize("name", ["3_8b-sw16-1.0", "3_8b-sushort-1.0", "0_5b-1.0", "1_8b-ntk-1.0"])
def test_windows_and_long_rope_do_not_see_the_padding(golden, tiny: Loaded, name: str) -> None:
    """A sliding window of 16 tokens, longrope and dynamic NTK that change inside the prompt; text only.

    These models have no tokenizer of their own, so their prompts are given as tokens.
    """
    g: Golden = golden(name)
    config = g.model.config.text
    lengths = [n for n in (5, 11, 17, 23, 29, 31) if n < config.max_position_embeddings]
    rows = [[1, *((7 * i * i + 3 * n) % (config.vocab_size - 30) for i in range(1, n))] for n in lengths]
    answerer = TorchAnswerer(g.model, tiny[1], 4, NEW)
    answerer.ends = answerer.ends[:0]
    made = [answerer._row(number, Query("x"), row) for number, row in enumerate(rows)]
    found: dict[int, list[int]] = {}
    for some in answerer._by_prefix(made):
        for batch in answerer._answer_rows(some, {}):
            found.update(batch)
    for number, row in enumerate(rows):
        ids = torch.tensor([row])
        out = g.model.generate(input_ids=ids, max_new_tokens=NEW, do_sample=False, eos_token_id=None)
        assert found[number] == out[0, len(row) :].tolist(), len(row)


def test_a_model_in_training_goes_on_training(tiny: Loaded, queries: list[Query]) -> None:
    """With activation checkpointing too, which in training mode would do without a cache."""
    model, _ = tiny
    answerer = TorchAnswerer(*tiny, None, NEW)
    expected = answerer.answer(queries)
    model.activation_checkpointing_enable()
    model.train()
    try:
        assert answerer.answer(queries) == expected and model.training and model.model.vision_tower.training
        with pytest.raises(EdgeError):
            answerer.answer([Query("")])
        assert model.training
    finally:
        model.activation_checkpointing_disable()
        model.eval()


def test_a_moderate_batch() -> None:
    """The tiny model takes many rows; the 0.5B one, whose pictures have up to 1,792 tokens, a few."""
    assert moderate_batch(Tiling(112), SIZES["tiny"].tokens_per_tile, 64) == 64
    assert 6 <= moderate_batch(Tiling(448), SIZES["0.5b"].tokens_per_tile, 64) <= 10
    assert moderate_batch(Tiling(448), 256, 100_000) == 1


def test_what_cannot_be_answered(tiny: Loaded, tmp_path: Path) -> None:
    answerer = TorchAnswerer(*tiny, None, 2)
    (tmp_path / "page.png").write_bytes(b"<html>")
    for query, message in (
        (Query(" "), "a question is empty"),
        (Query("what?", (tmp_path / "page.png",)), "page.png is not a picture"),
        (Query("what?", (tmp_path / "none.png",)), "none.png"),
        (Query("what?", (b"",)), "the picture is empty"),
        (Query("<image>?"), "1 <image> marks, but 0 pictures"),
        (Query("word " * 2000), "context is 4096"),
        (Query("<IMG_CONTEXT>"), "reserved token"),
    ):
        with pytest.raises(EdgeError, match=message):
            answerer.answer([Query("fine?"), query])
    for wrong in ({"batch": 0}, {"max_new_tokens": 0}):
        with pytest.raises(EdgeError, match="give 1 or more"):
            TorchAnswerer(*tiny, **wrong)
    assert answerer.answer([]) == []
