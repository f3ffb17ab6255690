"""Generation: what transformers' loop makes of our cache, and our stream around it."""

import math
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from golden_checkpoints import ARCHITECTURES
from noise import noise
from PIL import Image
from torch import Tensor, nn
from transformers import DynamicCache

from phantom_edge.checkpoint.generation import carried
from phantom_edge.checkpoint.pretrained import PhantomForConditionalGeneration
from phantom_edge.convert.random import write_random
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.generate import Answer, Sampling, load, make_inputs, stream
from phantom_edge.models.sizes import SIZES
from phantom_edge.processing.processor import PhantomProcessor

Loaded = tuple[PhantomForConditionalGeneration, PhantomProcessor]


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("eta", ["1.0", "1e-4"])
def test_greedy_tokens_are_the_reference_ones(golden, arch: str, eta: str) -> None:
    g = golden(f"{arch}-{eta}")
    fed = g.io["decode_token_ids"][0].tolist()
    for options in ({}, {"prefill_chunk_size": 7}, {"cache_implementation": "static"}):
        out = g.model.generate(
            input_ids=g.io["input_ids"],
            pixel_values=g.io["pixel_values"],
            max_new_tokens=len(fed),
            do_sample=False,
            eos_token_id=None,
            **options,
        )
        assert out[0, 40:].tolist() == fed, options


def test_a_left_padded_batch_answers_as_its_rows_alone(golden) -> None:
    g = golden("7b-1.0")
    ids, mask = g.io["batch.input_ids"], g.io["batch.attention_mask"]
    out = g.model.generate(
        input_ids=ids, attention_mask=mask, pixel_values=g.io["pixel_values"], max_new_tokens=4, eos_token_id=None
    )
    assert out[:, ids.shape[1] :].tolist() == g.io["batch.decode_token_ids"].tolist()


def log_likelihood(model: PhantomForConditionalGeneration, ids: Tensor, prompt: int, pixels: Tensor) -> float:
    logits = model(input_ids=ids[:, :prompt], pixel_values=pixels, use_cache=True)
    total = 0.0
    for token in ids[0, prompt:]:
        total += logits.logits[0, -1].log_softmax(-1)[token].item()
        logits = model(input_ids=token[None, None], past_key_values=logits.past_key_values, use_cache=True)
    return total


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_beam_search_keeps_each_beams_sentinel_and_pictures(golden, arch: str) -> None:
    """Three beams over several tiles: the score that the search reports is the one that a plain pass computes."""
    g = golden(f"{arch}-1.0")
    ids, pixels = g.io["input_ids"], g.io["pixel_values"]
    out = g.model.generate(
        input_ids=ids,
        pixel_values=pixels,
        max_new_tokens=6,
        num_beams=3,
        do_sample=False,
        eos_token_id=None,
        length_penalty=0.0,
        return_dict_in_generate=True,
        output_scores=True,
    )
    greedy = g.model.generate(input_ids=ids, pixel_values=pixels, max_new_tokens=6, do_sample=False, eos_token_id=None)
    best = log_likelihood(g.model, out.sequences, 40, pixels)
    assert best == pytest.approx(out.sequences_scores[0].item(), abs=1e-4)
    assert best >= log_likelihood(g.model, greedy, 40, pixels) - 1e-4


def test_beams_over_a_batch_with_pictures(golden) -> None:
    """Rows of two and one tiles: each row's beams must see their own row's pictures."""
    g = golden("0_5b-1.0")
    ids, mask, pixels = g.io["batch.input_ids"], g.io["batch.attention_mask"], g.io["pixel_values"]
    options = {"max_new_tokens": 5, "num_beams": 3, "do_sample": False, "eos_token_id": None}
    both = g.model.generate(input_ids=ids, attention_mask=mask, pixel_values=pixels, **options)[:, ids.shape[1] :]
    for row, tiles in ((0, pixels[:2]), (1, pixels[2:])):
        real = ids[row : row + 1, mask[row].bool()]
        alone = g.model.generate(input_ids=real, pixel_values=tiles, **options)[:, real.shape[1] :]
        assert both[row].tolist() == alone[0].tolist()


def test_inputs_that_do_not_fit_together(golden) -> None:
    g = golden("0_5b-1.0")
    ids = g.io["text.input_ids"]
    with pytest.raises(EdgeError, match="cannot hold the sentinel"):
        g.model(input_ids=ids, past_key_values=DynamicCache(), use_cache=True)
    with pytest.raises(EdgeError, match="attention_mask covers 5 tokens, cache and input have 21"):
        g.model(input_ids=ids, attention_mask=torch.ones(1, 5, dtype=torch.long))
    none = g.io["pixel_values"][:0]
    assert torch.equal(g.model(input_ids=ids, pixel_values=none).logits, g.model(input_ids=ids).logits)


def test_pictures_and_marks_must_match(golden) -> None:
    g = golden("0_5b-1.0")
    with pytest.raises(EdgeError, match="the prompt has 12 image tokens, the pictures make 8"):
        g.model(input_ids=g.io["input_ids"], pixel_values=g.io["pixel_values"][:2])
    with pytest.raises(EdgeError, match="12 image tokens, the pictures make 0"):
        g.model(input_ids=g.io["input_ids"])
    with pytest.raises(EdgeError, match="0 image tokens, the pictures make 4"):
        g.model(input_ids=g.io["text.input_ids"], pixel_values=g.io["pixel_values"][:1])
    with pytest.raises(EdgeError, match="this model takes"):
        g.model(input_ids=g.io["input_ids"], pixel_values=g.io["pixel_values"][..., :28])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_near(golden, dtype: torch.dtype) -> None:
    """bf16 keeps 8 bits: about 1 % of the logits' spread through two layers; fp16 keeps 11."""
    g = golden("0_5b-1e-4")
    half = PhantomForConditionalGeneration.from_pretrained(g.folder, dtype=dtype)
    logits = half(input_ids=g.io["input_ids"], pixel_values=g.io["pixel_values"]).logits.float()
    spread = g.io["prefill_logits"].std()
    bound = 0.15 if dtype == torch.bfloat16 else 0.02
    assert half.dtype == dtype
    assert ((logits - g.io["prefill_logits"]).abs().max() / spread).item() < bound


def test_gradients_reach_every_part(golden) -> None:
    """Training needs it: labels give a loss, and each part of the phantom branch gets a gradient."""
    g = golden("3_8b-1.0")
    model = PhantomForConditionalGeneration.from_pretrained(g.folder, config=g.model.config).train()
    for checkpointing in (False, True):
        if checkpointing:
            model.activation_checkpointing_enable()
        model.zero_grad()
        with torch.enable_grad():
            labels = g.io["input_ids"].masked_fill(g.io["input_ids"] == 283, -100)
            out = model(input_ids=g.io["input_ids"], pixel_values=g.io["pixel_values"], labels=labels, use_cache=False)
            out.loss.backward()
        dead = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
        # the last layer's attention of a CLS that is dropped, and query biases that only shift softmax rows, may be 0
        assert dead == [], dead


def test_checkpointing_recomputes_every_layer_and_changes_no_gradient(golden) -> None:
    """Layers of the vision tower too: with six tiles their activations are the larger part."""
    g = golden("0_5b-1.0")
    model = PhantomForConditionalGeneration.from_pretrained(g.folder, config=g.model.config).train()
    inner = [layer.mlp for layer in model.model.language_model.layers]
    inner += [layer.mlp for layer in model.model.vision_tower.layers]
    ran: list[nn.Module] = []
    for module in inner:
        module.register_forward_pre_hook(lambda module, _given: ran.append(module))
    labels = g.io["input_ids"].masked_fill(g.io["input_ids"] == model.config.image_token_id, -100)
    gradients: list[dict[str, Tensor]] = []
    for times in (1, 2):
        if times == 2:
            model.activation_checkpointing_enable()
        model.zero_grad()
        ran.clear()
        with torch.enable_grad():
            out = model(input_ids=g.io["input_ids"], pixel_values=g.io["pixel_values"], labels=labels, use_cache=False)
            out.loss.backward()
        assert [ran.count(module) for module in inner] == [times] * len(inner)
        gradients.append({name: p.grad.clone() for name, p in model.named_parameters()})
    for name, gradient in gradients[0].items():
        assert torch.equal(gradients[1][name], gradient), name


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    folder = tmp_path_factory.mktemp("tiny") / "tiny"
    write_random(SIZES["tiny"], folder, seed=3, eta=1.0)
    return load(str(folder), torch.float32)


PICTURE = noise((300, 200), 60)


def test_stream_is_the_answer(tiny: Loaded) -> None:
    answer = Answer()
    pieces = list(stream(*tiny, "what is it?", [PICTURE], Sampling(max_new_tokens=20), answer))
    assert len(pieces) > 1 and "".join(pieces) == answer.text != ""
    assert answer.tokens == 20 and answer.stopped_by == "length"
    assert 0 < answer.seconds_to_first_token < answer.seconds
    again = "".join(stream(*tiny, "what is it?", [PICTURE], Sampling(max_new_tokens=20)))
    assert again == answer.text


def test_several_pictures_and_marks(tiny: Loaded) -> None:
    two = "".join(stream(*tiny, "same?", [PICTURE, PICTURE.rotate(90)], Sampling(max_new_tokens=8)))
    placed = "".join(stream(*tiny, "<image><image>same?", [PICTURE, PICTURE.rotate(90)], Sampling(max_new_tokens=8)))
    assert two == placed
    with pytest.raises(EdgeError, match="2 <image> marks, but 1"):
        list(stream(*tiny, "<image> or <image>?", [PICTURE]))
    with pytest.raises(EdgeError, match="1 <image> marks, but 0"):
        list(stream(*tiny, "<image>?"))


def test_beams_and_sampling(tiny: Loaded) -> None:
    answer = Answer()
    assert len(list(stream(*tiny, "hi", [], Sampling(max_new_tokens=5, beams=3), answer))) == 1
    assert answer.tokens == 5
    hot = Sampling(max_new_tokens=12, temperature=2.0, top_p=0.9, top_k=50, seed=1)
    first, second = ("".join(stream(*tiny, "hi", [], hot)) for _ in range(2))
    other = "".join(stream(*tiny, "hi", [], Sampling(max_new_tokens=12, temperature=2.0, seed=2)))
    assert first == second != other


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("place", ["generation_config", "config"])
@pytest.mark.parametrize("as_list", [True, False])
def test_every_stop_token_of_the_checkpoint_ends_an_answer(
    tiny: Loaded, monkeypatch: pytest.MonkeyPatch, beams: int, place: str, as_list: bool
) -> None:
    """Named by either file, the other naming one that never comes; also as the very last token allowed."""
    model, processor = tiny
    inputs = make_inputs(model, processor, "hi", [])
    free = model.generate(**inputs, max_new_tokens=12, num_beams=beams, do_sample=False, eos_token_id=None)
    new = free[0, inputs["input_ids"].shape[1] :].tolist()
    ends = new[5]
    length = new.index(ends) + 1
    elsewhere = next(token for token in range(512) if token not in new)
    for name in ("generation_config", "config"):
        here = ends if name == place else elsewhere
        monkeypatch.setattr(getattr(model, name), "eos_token_id", [elsewhere, here] if as_list else here)
    answer = Answer()
    if beams == 1:  # beam search may prefer another answer once one can end
        for allowed, stopped_by in ((length - 1, "length"), (length, "end of turn"), (length + 3, "end of turn")):
            list(stream(model, processor, "hi", [], Sampling(max_new_tokens=allowed), answer))
            assert (answer.tokens, answer.stopped_by) == (min(allowed, length), stopped_by)
    list(stream(model, processor, "hi", [], Sampling(max_new_tokens=40, beams=beams), answer))
    assert answer.stopped_by == "end of turn" and answer.tokens < 40
    assert set(carried(model.generation_config, model.config).stop_tokens) == {ends, elsewhere}


def test_padding_token(tiny: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    """generation_config.json's before config.json's before a stop token."""
    model, _ = tiny
    monkeypatch.setattr(model.config, "eos_token_id", 7)
    monkeypatch.setattr(model.generation_config, "eos_token_id", [9, 8])
    for ours, theirs, want in ((3, 0, 0), (3, None, 3), (None, None, 7)):
        monkeypatch.setattr(model.config, "pad_token_id", ours)
        monkeypatch.setattr(model.generation_config, "pad_token_id", theirs)
        chosen = Sampling().generation_config(model)
        assert chosen.pad_token_id == want and chosen.eos_token_id == [7, 8, 9]


@pytest.fixture(params=[False, True], ids=["words", "image tokens"])
def drafted(request: pytest.FixtureRequest, tiny: Loaded, monkeypatch: pytest.MonkeyPatch) -> Loaded:
    """The tiny model; once so that it says the image token itself, as the word that it likes best otherwise."""
    model, processor = tiny
    if request.param:
        favourite = torch.tensor(greedy(model, make_inputs(model, processor, "what? what?", [PICTURE]))).mode().values
        weight = model.lm_head.weight.detach().clone()
        weight[model.config.image_token_id] = weight[favourite] * 1.05
        monkeypatch.setattr(model.lm_head.weight, "data", weight)
    return model, processor


def greedy(model: PhantomForConditionalGeneration, inputs: dict[str, Tensor], **options: object) -> list[int]:
    out = model.generate(**inputs, max_new_tokens=40, do_sample=False, eos_token_id=None, **options)
    return out[0, inputs["input_ids"].shape[1] :].tolist()


@pytest.mark.parametrize("pictures", [[PICTURE], [PICTURE, PICTURE.rotate(90)], []], ids=len)
@pytest.mark.parametrize("ngram", [1, 3])
def test_prompt_lookup_gives_the_greedy_tokens(drafted: Loaded, pictures: list[Image.Image], ngram: int) -> None:
    """Drafts repeat the prompt's image tokens; these are words in an answer."""
    model, processor = drafted
    inputs = make_inputs(model, processor, "what? what?", pictures)
    looked_up = greedy(model, inputs, prompt_lookup_num_tokens=8, max_matching_ngram_size=ngram)
    assert looked_up == greedy(model, inputs)


def test_drafts_hold_image_tokens_and_a_missing_picture_still_shows(drafted: Loaded) -> None:
    """The tests around this one would prove nothing if no draft repeated an image token."""
    model, processor = drafted
    inputs = make_inputs(model, processor, "what? what?", [PICTURE])
    marks = int((inputs["input_ids"] == model.config.image_token_id).sum())
    met: list[int] = []

    def count(_module: object, _given: object, named: dict[str, Any]) -> None:
        met.append(int((named["input_ids"] == model.config.image_token_id).sum()))

    hook = model.register_forward_pre_hook(count, with_kwargs=True)
    greedy(model, inputs, prompt_lookup_num_tokens=8, max_matching_ngram_size=1)
    hook.remove()
    assert sum(met) > marks
    with pytest.raises(EdgeError, match=f"the prompt has {marks} image tokens, the pictures make 0"):
        greedy(model, {"input_ids": inputs["input_ids"]}, prompt_lookup_num_tokens=8)


def test_a_second_model_drafts_answers_without_pictures(drafted: Loaded, tmp_path: Path) -> None:
    model, processor = drafted
    write_random(SIZES["tiny"], tmp_path / "second", seed=9, eta=1.0)
    second = PhantomForConditionalGeneration.from_pretrained(tmp_path / "second", dtype=torch.float32).eval()
    inputs = make_inputs(model, processor, "what? what?", [])
    alone = greedy(model, inputs)
    assert greedy(model, inputs, assistant_model=second) == alone
    assert greedy(model, inputs, assistant_model=model) == alone
    with pytest.raises(EdgeError, match="transformers does not show them to it"):
        greedy(model, make_inputs(model, processor, "what?", [PICTURE]), assistant_model=second)


def test_a_reader_that_leaves_stops_the_generation(tiny: Loaded) -> None:
    pieces = stream(*tiny, "hi", [], Sampling(max_new_tokens=4000))
    next(pieces)
    before = threading.active_count()
    pieces.close()
    assert threading.active_count() == before - 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_new_tokens": 0},
        *({"temperature": number} for number in (-1.0, 1e-45, 9e-5, math.inf, math.nan)),
        *({"top_p": number} for number in (0.0, 1.1, math.nan)),
        {"top_k": -1},
        {"beams": 0},
        *({"seed": number} for number in (-1, 2**64)),
    ],
)
def test_impossible_sampling(wrong: dict[str, float]) -> None:
    with pytest.raises(EdgeError):
        Sampling(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("edge", [{"temperature": 1e-4}, {"temperature": 1e300}, {"seed": 2**64 - 1}, {"seed": 0}])
def test_the_edges_of_possible_sampling(tiny: Loaded, edge: dict[str, float]) -> None:
    answer = Answer()
    chosen = {"max_new_tokens": 3, "temperature": 1.0} | edge
    list(stream(*tiny, "hi", [], Sampling(**chosen), answer))  # type: ignore[arg-type]
    assert 1 <= answer.tokens <= 3


def test_prompts_that_cannot_be(tiny: Loaded, tmp_path: Path) -> None:
    with pytest.raises(EdgeError, match="the question is empty"):
        list(stream(*tiny, "  "))
    with pytest.raises(EdgeError, match="context is 4096"):
        list(stream(*tiny, "word " * 2000))
    with pytest.raises(EdgeError, match="reserved token"):
        list(stream(*tiny, "what is <IMG_CONTEXT>?"))


def test_an_error_inside_the_generation_reaches_the_reader(tiny: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    model, processor = tiny

    def fail(**_: object) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(model, "generate", fail)
    with pytest.raises(MemoryError, match="no room"):
        list(stream(model, processor, "hi"))
