"""The numbers of the known sizes: counted by formula, equal to the model's own; and what ``init`` writes of them."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import DynamicCache

from phantom_edge.checkpoint.loading import our_shapes
from phantom_edge.checkpoint.pretrained import PhantomForConditionalGeneration
from phantom_edge.convert.random import config_of, random_tensor, write_random
from phantom_edge.convert.random_tokenizer import filler, make_tokenizer
from phantom_edge.models.attention import PhantomAttention
from phantom_edge.models.config_file import read_config
from phantom_edge.models.sizes import SIZES
from phantom_edge.processing.processor import PhantomProcessor

PARTS = {
    "vision": "model.vision_tower.",
    "projector": "model.projector.",
    "embedding": "model.language_model.embed_tokens.",
    "head": "lm_head.",
}


@pytest.mark.parametrize("name", SIZES)
def test_parameters_by_part(name: str) -> None:
    size = SIZES[name]
    counted = dict.fromkeys(size.parameters(), 0)
    for tensor, shape in our_shapes(config_of(size)).items():
        part = next((part for part, prefix in PARTS.items() if tensor.startswith(prefix)), None)
        part = part or (
            "phantom" if ".phantom_" in tensor or ".gate_plain." in tensor or ".gate_phantom." in tensor else "decoder"
        )
        counted[part] += torch.Size(shape).numel()
    assert counted == size.parameters()


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_cache_bytes(name: str, dtype: torch.dtype) -> None:
    """KV bytes per token are those of the cache that attentions of the full shape fill, one for each layer."""
    config, tokens = config_of(SIZES[name]).text, 3
    cache = DynamicCache(config=config)
    hidden = torch.empty(1, tokens, config.hidden_size, dtype=dtype, device="meta")
    rope = tuple(torch.empty(1, tokens, config.head_dim, dtype=dtype, device="meta") for _ in range(2))
    with torch.device("meta"):
        attention = PhantomAttention(config, 0).to(dtype)
    for attention.layer_idx in range(config.num_hidden_layers):
        attention(hidden, rope, None, cache, None)
    stored = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
    assert stored == tokens * SIZES[name].kv_bytes_per_token(dtype.itemsize)


def test_cache_bytes_of_a_real_cache(tmp_path: Path) -> None:
    """Words and pictures: the size's tokens per tile are the tokens that a tile adds."""
    size = SIZES["tiny"]
    write_random(size, tmp_path / "t", dtype=torch.bfloat16)
    model = PhantomForConditionalGeneration.from_pretrained(tmp_path / "t")
    ids = torch.tensor([[1] * 10 + [size.image_token] * size.tokens_per_tile])
    pixels = torch.zeros(1, 3, size.vision.image, size.vision.image, dtype=torch.bfloat16)
    cache = model(input_ids=ids, pixel_values=pixels, use_cache=True).past_key_values
    stored = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
    assert stored == (10 + size.tokens_per_tile) * size.kv_bytes_per_token(2)


@pytest.mark.parametrize("name", SIZES)
def test_tokens_per_tile(name: str) -> None:
    """Those of the config that the size's checkpoints get, and of the projector's input, four patches wide."""
    config = config_of(SIZES[name])
    patches = (config.vision.image_size // config.vision.patch_size) ** 2
    width = our_shapes(config)["model.projector.norm.weight"][0]
    merged = width // config.vision.hidden_size
    assert SIZES[name].tokens_per_tile == config.tokens_per_tile == patches // merged


@pytest.mark.parametrize("name", SIZES)
def test_tokenizer_reads_bytes_and_writes_every_id(name: str) -> None:
    size = SIZES[name]
    tokenizer = make_tokenizer(size)
    assert len(tokenizer) == size.vocab
    assert {mark: tokenizer.convert_tokens_to_ids(mark) for mark in size.special_tokens} == size.special_tokens
    text = "naïve 你好 🙂 \n\t x"
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text
    assert len(set(tokenizer.get_vocab().values())) == size.vocab
    assert tokenizer.decode([300]).strip().isalpha()


def test_filler_words_never_repeat() -> None:
    assert len({filler(n) for n in range(160_000)}) == 160_000


def test_same_seed_same_bytes_however_sharded(tmp_path: Path) -> None:
    write_random(SIZES["tiny"], tmp_path / "one", seed=5)
    write_random(SIZES["tiny"], tmp_path / "many", seed=5, shard_bytes=100_000)
    write_random(SIZES["tiny"], tmp_path / "other", seed=6)
    one = load_file(tmp_path / "one" / "model.safetensors")
    many: dict[str, torch.Tensor] = {}
    for file in (tmp_path / "many").glob("*.safetensors"):
        many |= load_file(file)
    assert one.keys() == many.keys() and all(torch.equal(one[name], many[name]) for name in one)
    other = load_file(tmp_path / "other" / "model.safetensors")
    assert not torch.equal(one["lm_head.weight"], other["lm_head.weight"])
    index = json.loads((tmp_path / "many" / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == sum(tensor.nbytes for tensor in one.values())


def test_random_blocks_are_not_one_block_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("phantom_edge.convert.random.BLOCK_ELEMENTS", 100)
    tensor = random_tensor("x.weight", (30, 10), torch.float32, seed=0)
    blocks = tensor.view(3, 100)
    assert not torch.equal(blocks[0], blocks[1])
    assert 0.2 < tensor.std().item() < 0.45  # 10 ** -0.5 = 0.32


@pytest.mark.parametrize("family", ["tiny", "0.5b", "3.8b"])
def test_processor_of_a_random_checkpoint(family: str, tmp_path: Path) -> None:
    """The prompt's first token is the sentinel that the family's contract names."""
    from phantom_edge.convert.random_tokenizer import save_processor

    size = SIZES[family]
    config = config_of(size)
    config.save_pretrained(tmp_path)
    save_processor(size, config, tmp_path)
    processor = PhantomProcessor.from_pretrained(tmp_path)
    text = processor.apply_chat_template(
        [{"role": "user", "content": "hi"}], tokenize=False, add_generation_prompt=True
    )
    first = processor(text=[text])["input_ids"][0][0]
    assert first == size.special_tokens["<|user|>" if size.family == "phi3" else "<|im_start|>"]
    assert processor.tokens_per_tile == size.tokens_per_tile
    assert read_config(tmp_path).image_token_id == size.image_token
    assert Tokenizer.from_file(str(tmp_path / "tokenizer.json")).get_vocab_size() == size.vocab
