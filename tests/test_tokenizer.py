"""Tokenizers from files alone; SentencePiece models cut text exactly as SentencePiece does."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from phantom_edge.checkpoint.source import Source
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.models.shipped import NANO
from phantom_edge.processing.prompt import IMAGE_TOKENS
from phantom_edge.processing.sentencepiece_model import build_tokenizer, read_model
from phantom_edge.processing.tokenizer import check_single_tokens, fit_tokenizer, load_tokenizer
from phantom_edge.runtime.text import Streamed, Text

GOLDEN = Path(__file__).parent / "golden" / "sentencepiece"
EXPECTED = json.loads((GOLDEN / "expected.json").read_text("utf-8"))["models"]
CHAT_TOKENS = ("<|im_start|>", "<|im_end|>")


def internlm2_folder(folder: Path, name: str, listing: str = "both") -> Path:
    """An official-looking folder: a SentencePiece model, chat tokens over two pieces, image tokens behind them all."""
    folder.mkdir()
    shutil.copyfile(GOLDEN / f"{name}.model", folder / "tokenizer.model")
    size = EXPECTED[name]["pieces"]
    added = {size - 2: "<|im_start|>", size - 1: "<|im_end|>"} | dict(enumerate(IMAGE_TOKENS, start=size))
    flags = {"lstrip": False, "rstrip": False, "normalized": False, "single_word": False, "special": True}
    config = {
        "tokenizer_class": "InternLM2Tokenizer",
        "auto_map": {"AutoTokenizer": ["tokenization_internlm2.InternLM2Tokenizer", None]},
        "added_tokens_decoder": {str(index): {"content": token, **flags} for index, token in added.items()},
        "eos_token": "</s>",
        "bos_token": {"content": "<s>", **flags},
        "pad_token": "</s>",
    }
    if listing == "added_tokens.json":
        del config["added_tokens_decoder"]
    if listing != "tokenizer_config.json":
        (folder / "added_tokens.json").write_text(json.dumps({token: index for index, token in added.items()}))
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "tokenization_internlm2.py").write_text("raise RuntimeError('remote code was run')\n")
    return folder


@pytest.mark.parametrize("name", EXPECTED)
def test_text_is_cut_as_sentencepiece_cuts_it(name):
    tokenizer = build_tokenizer(read_model(GOLDEN / f"{name}.model"), {})
    assert tokenizer.get_vocab_size() == EXPECTED[name]["pieces"]
    found = {text: tokenizer.encode(text, add_special_tokens=False).ids for text in EXPECTED[name]["ids"]}
    assert found == EXPECTED[name]["ids"]


@pytest.mark.parametrize("name", EXPECTED)
@pytest.mark.parametrize("listing", ["added_tokens.json", "tokenizer_config.json", "both"])
def test_internlm2_folder_without_its_code(tmp_path, name, listing):
    folder = internlm2_folder(tmp_path / "official", name, listing)
    tokenizer = load_tokenizer(folder)
    fit_tokenizer(tokenizer)
    size, known = EXPECTED[name]["pieces"], EXPECTED[name]["ids"]
    prompt = "<|im_start|>user\nDescribe the photo<|im_end|><img><IMG_CONTEXT></img>The boat"
    expected = [size - 2, *known["user\nDescribe the photo"], size - 1, size, size + 1, size + 2, *known["The boat"]]
    assert tokenizer.encode(prompt, add_special_tokens=False) == expected
    assert tokenizer.decode(tokenizer.encode("The boat, 漢", add_special_tokens=False)) == "The boat, 漢"
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token) == ("<s>", "</s>", "</s>")

    tokenizer.save_pretrained(tmp_path / "saved")
    again = load_tokenizer(tmp_path / "saved")
    assert again.encode(prompt, add_special_tokens=False) == expected
    assert again.decode(expected, skip_special_tokens=True) == tokenizer.decode(expected, skip_special_tokens=True)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text(st.sampled_from("abdehiorst   \n\tÜ漢🙂é.,12▁"), max_size=12), min_size=1, max_size=8))
def test_against_sentencepiece_itself(texts):
    sentencepiece = pytest.importorskip("sentencepiece", reason="the sentencepiece package is the oracle of this test")
    for name in EXPECTED:
        oracle = sentencepiece.SentencePieceProcessor(model_file=str(GOLDEN / f"{name}.model"))
        tokenizer = build_tokenizer(read_model(GOLDEN / f"{name}.model"), {})
        assert [tokenizer.encode(text).ids for text in texts] == [oracle.encode(text) for text in texts]


def test_a_freshly_trained_model(tmp_path):
    sentencepiece = pytest.importorskip(
        "sentencepiece", reason="the sentencepiece package trains the model of this test"
    )
    words = tmp_path / "words.txt"
    words.write_text(
        "seven small boats sail past the old harbour wall\n" * 30 + "sails and sailors, walls and wallets\n" * 30
    )
    sentencepiece.SentencePieceTrainer.train(
        input=str(words), model_prefix=str(tmp_path / "fresh"), vocab_size=320, model_type="bpe", byte_fallback=True
    )
    oracle = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "fresh.model"))
    tokenizer = build_tokenizer(read_model(tmp_path / "fresh.model"), {})
    for text in ("seven sailors", "the old wallets, past", "unheard-of: 7 ﬁsh ½"):
        assert tokenizer.encode(text, add_special_tokens=False).ids == oracle.encode(text)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damaged_models_end_in_a_model_or_one_clear_line(tmp_path_factory, data):
    content = bytearray((GOLDEN / "plain.model").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.model"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        assert read_model(path).pieces
    except EdgeError as error:
        assert "\n" not in error.problem


def bpe(tokens: tuple[str, ...], **named: str) -> PreTrainedTokenizerFast:
    """Bytes and ``tokens``."""
    vocab = {letter: index for index, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_tokens([AddedToken(token, normalized=False, special=True) for token in tokens])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **named)


def streamed(tokenizer: Tokenizer, ids: list[int]) -> tuple[list[str], str]:
    """Pieces of an answer, and its text."""
    stream = Streamed(tokenizer)
    pieces = [*map(stream.add, ids), stream.rest()]
    return [piece for piece in pieces if piece], stream.text


def tokenizers_of_each_kind() -> dict[str, Tokenizer]:
    """Letters as bytes in every token, and as bytes only where no other token has them."""
    found = {name: build_tokenizer(read_model(GOLDEN / f"{name}.model"), {}) for name in EXPECTED}
    return found | {"bytes": bpe(()).backend_tokenizer}


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_tokens_are_streamed_as_they_are_decoded(data):
    """Not as ``tokenizers``' own stream does it, which raises for some of these, and drops the end of others."""
    tokenizer = data.draw(st.sampled_from(list(tokenizers_of_each_kind().values())))
    vocabulary = tokenizer.get_vocab()
    single = [vocabulary[f"<0x{byte:02X}>"] for byte in range(256) if f"<0x{byte:02X}>" in vocabulary]
    token = st.integers(0, tokenizer.get_vocab_size() - 1)
    ids = data.draw(st.lists(st.sampled_from(single) | token if single else token, max_size=20))
    pieces, text = streamed(tokenizer, ids)
    assert text == tokenizer.decode(ids, skip_special_tokens=True)
    assert sum(map(len, pieces)) >= len(text) and not any(piece.endswith("\ufffd") for piece in pieces[:-1])


@settings(max_examples=100, deadline=None)
@given(st.text(st.sampled_from("abdehiorst   \n\tÜ漢🙂é.,12"), max_size=30))
def test_words_are_streamed_in_whole_letters(words):
    for tokenizer in tokenizers_of_each_kind().values():
        ids = tokenizer.encode(words, add_special_tokens=False).ids
        pieces, text = streamed(tokenizer, ids)
        assert "".join(pieces) == text == tokenizer.decode(ids, skip_special_tokens=True)
        assert "\ufffd" not in text


def test_qwen2_vocabulary_and_merges(tmp_path):
    vocab = {letter: index for index, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    (tmp_path / "vocab.json").write_text(json.dumps(vocab | {"he": 256, "<|endoftext|>": 257}), "utf-8")
    (tmp_path / "merges.txt").write_text("#version: 0.2\nh e\n", "utf-8")
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.convert_ids_to_tokens(tokenizer.encode("hehh <")) == ["he", "h", "h", "Ġ", "<"]


def test_tokenizer_json_is_taken_as_it_stands(tmp_path):
    """Phi-3's class of today would cut the text after a special token otherwise than the file says."""
    original = bpe((*CHAT_TOKENS, *IMAGE_TOKENS), eos_token="<|im_end|>")
    original.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    auto_map = {"AutoTokenizer": ["tokenization_x.X", "tokenization_x.X"]}
    config |= {"tokenizer_class": "LlamaTokenizerFast", "auto_map": auto_map}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    (tmp_path / "tokenization_x.py").write_text("raise RuntimeError('remote code was run')\n")
    text = "<|im_start|>user\nÜ  x<|im_end|>"
    assert load_tokenizer(tmp_path).encode(text) == original.encode(text)


def test_padding_is_on_the_left_with_the_end_token_for_want_of_another():
    tokenizer = bpe(IMAGE_TOKENS, eos_token="</img>")
    fit_tokenizer(tokenizer)
    assert tokenizer.padding_side == "left"
    assert tokenizer.pad_token == "</img>"
    with pytest.raises(EdgeError, match="no pad token"):
        fit_tokenizer(bpe(IMAGE_TOKENS))


def test_missing_image_tokens():
    with pytest.raises(EdgeError, match="no token <IMG_CONTEXT> and no </img>") as caught:
        fit_tokenizer(bpe(("<img>",), eos_token="<img>"))
    assert "\n" not in caught.value.problem + caught.value.remedy
    with pytest.raises(EdgeError, match=r"no token <\|im_end\|>"):
        check_single_tokens(bpe(("<|im_start|>",)), CHAT_TOKENS)


def test_a_token_that_text_never_becomes():
    vocab = {letter: index for index, letter in enumerate("<>abcdefghijklmnopqrstuvwxyzIMGCONTEX_/")}
    vocab |= {token: len(vocab) + index for index, token in enumerate(IMAGE_TOKENS)}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE(vocab=vocab, merges=[])), eos_token="<")
    with pytest.raises(EdgeError, match="no token <img> and no <IMG_CONTEXT> and no </img>"):
        fit_tokenizer(tokenizer)


def test_folders_without_a_usable_tokenizer(tmp_path):
    with pytest.raises(EdgeError, match="has no tokenizer"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.model").write_bytes(b"version https://git-lfs.github.com/spec/v1")
    with pytest.raises(EdgeError, match="not a SentencePiece model"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_bytes(b"version https://git-lfs.github.com/spec/v1")
    with pytest.raises(EdgeError, match="pointer of Git LFS"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_bytes(b"{}")
    with pytest.raises(EdgeError, match="describes no tokenizer"):
        load_tokenizer(tmp_path)


def vocab_id(value: object) -> Callable[[dict], None]:
    return lambda document: document["model"]["vocab"].update({"a": value})


def model(**fields: object) -> Callable[[dict], None]:
    return lambda document: document.update(model=fields)


def part(name: str, **fields: object) -> Callable[[dict], None]:
    return lambda document: document.update({name: fields})


UNUSABLE: dict[str, tuple[Callable[[dict], None], str]] = {
    "a negative id": (vocab_id(-1), "expected u32"),
    "an id beyond 32 bits": (vocab_id(2**32), "expected u32"),
    "half an id": (vocab_id(1.5), "expected u32"),
    "an id in words": (vocab_id("one"), "expected u32"),
    "a negative added id": (lambda document: document["added_tokens"][0].update(id=-1), "expected u32"),
    "words without the unknown one": (model(type="WordLevel", vocab={"a": 0}, unk_token="<unk>"), "Missing .UNK."),
    "pieces without the unknown one": (model(type="Unigram", vocab=[["a", 0.0]], unk_id=None), "unk_id"),
    "an unknown piece that is not there": (model(type="Unigram", vocab=[["a", 0.0]], unk_id=7), "UnkIdNotInVocabulary"),
    "an empty map of letters": (part("normalizer", type="Precompiled", precompiled_charsmap="AAAAAAAA"), "bounds"),
    "a damaged map of letters": (part("normalizer", type="Precompiled", precompiled_charsmap="AgAA"), "charsmap"),
    "a pattern that never closes": (
        part("pre_tokenizer", type="Split", pattern={"Regex": "(a"}, behavior="Isolated", invert=False),
        "Oniguruma",
    ),
    "truncation to nothing": (
        part("truncation", max_length=0, stride=5, strategy="LongestFirst", direction="Right"),
        "stride",
    ),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_a_tokenizer_that_its_library_refuses_or_panics_about(name, tmp_path, capfd):
    """One line, and nothing beside it, for checkpoints and for bundles."""
    change, complaint = UNUSABLE[name]
    bpe((*CHAT_TOKENS, *IMAGE_TOKENS), eos_token="<|im_end|>").save_pretrained(tmp_path)
    file = tmp_path / "tokenizer.json"
    document = json.loads(file.read_text())
    change(document)
    file.write_text(json.dumps(document))
    with pytest.raises(EdgeError, match=complaint) as caught:
        load_tokenizer(tmp_path)
    assert "\n" not in caught.value.problem
    (tmp_path / "template").write_text("{{ messages }}")
    if name != "truncation to nothing":  # transformers alone checks it
        with pytest.raises(EdgeError, match=complaint):
            Text(Source.open(NANO).prompt("tokenizer", "template"), file, tmp_path / "template")
    assert capfd.readouterr().err == ""


def test_a_mark_of_byte_order_is_no_fault(tmp_path):
    """Of files that transformers reads by itself, it is one, in one line."""
    bpe((*CHAT_TOKENS, *IMAGE_TOKENS), eos_token="<|im_end|>").save_pretrained(tmp_path)
    file = tmp_path / "tokenizer.json"
    file.write_text(file.read_text(), encoding="utf-8-sig")
    with pytest.raises(EdgeError, match="cannot be read"):
        load_tokenizer(tmp_path)


def test_added_tokens_that_make_no_sense(tmp_path):
    folder = internlm2_folder(tmp_path / "official", "plain")
    for listed, problem in (({"<img>": 9999}, "cannot have id 9999"), ({"<img>": "x"}, "unusable added tokens")):
        (folder / "tokenizer_config.json").write_text("{}")
        (folder / "added_tokens.json").write_text(json.dumps(listed))
        with pytest.raises(EdgeError, match=problem):
            load_tokenizer(folder)
