"""The processor against the released ``eval_process``, and its way through folders, chats and mistakes."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from phantom_edge.foundation.errors import EdgeError
from phantom_edge.processing.image_processor import PhantomImageProcessor
from phantom_edge.processing.processor import PhantomProcessor
from phantom_edge.processing.prompt import CHAT_TEMPLATES, IMAGE_CONTEXT, STYLES, expand, render
from phantom_edge.processing.tiling import Tiling, to_pixel_values

GOLDEN = Path(__file__).parent / "golden"
PICTURES = GOLDEN / "preprocess"
STYLE_OF = {"0_5b": "chatml", "1_8b": "chatml", "3_8b": "phi3", "7b": "chatml"}
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<img>", "</img>", "<IMG_CONTEXT>")
PHI3 = ("<|user|>", "<|assistant|>", "<|system|>", "<|end|>")


def byte_tokenizer(tokens: tuple[str, ...] = (*SPECIAL, *PHI3)) -> PreTrainedTokenizerFast:
    """One token a byte, and the special ones: for ASCII the stand-in that the golden prompts were made with."""
    vocab = {letter: index for index, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_tokens([AddedToken(token, normalized=False, special=True) for token in tokens])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=tokens[0], pad_token=tokens[0])


def processor_of(style: str, tile_size: int = 56, tokens_per_tile: int = 4) -> PhantomProcessor:
    images = PhantomImageProcessor(size=tile_size)
    return PhantomProcessor(images, byte_tokenizer(), CHAT_TEMPLATES[style], tokens_per_tile)


@pytest.fixture
def processor() -> PhantomProcessor:
    return processor_of("chatml")


@pytest.fixture
def official(tmp_path: Path) -> Path:
    """A folder as officially published: config and tokenizer, nothing of ours."""
    shutil.copyfile(GOLDEN / "0_5b-1.0" / "config.json", tmp_path / "config.json")
    byte_tokenizer().save_pretrained(tmp_path)
    return tmp_path


def grey(width: int, height: int, level: int = 128) -> Image.Image:
    return Image.new("RGB", (width, height), (level, level, level))


def ask(*parts: object) -> list[dict]:
    content = [{"type": "text", "text": part} if isinstance(part, str) else part for part in parts]
    return [{"role": "user", "content": content}]


def picture(image: object) -> dict:
    return {"type": "image", "image": image}


@pytest.mark.parametrize("arch", STYLE_OF)
@pytest.mark.parametrize(
    ("case", "names", "words"),
    [
        ("demo, one image (640x480: 7 tiles)", ["img3_640x480.png"], ["Describe the image in detail"]),
        (
            "demo, batch image(448x448: 1 tile)+image(1000x300: 4 tiles)",
            ["img0_448x448.png", "img1_1000x300.png"],
            ["Short", "Describe the image in detail"],
        ),
    ],
)
def test_eval_process(arch, case, names, words):
    processor = processor_of(STYLE_OF[arch], 448, 256)
    chats = [ask(picture(PICTURES / name), question) for name, question in zip(names, words, strict=True)]
    found = processor.apply_chat_template(
        chats, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    expected = json.loads((GOLDEN / f"prompts-{arch}.json").read_text())["eval_process"][case]
    assert list(found["input_ids"].shape) == expected["input_ids_shape"]
    assert list(found["pixel_values"].shape) == expected["pixel_values_shape"]
    tiles = [len(to_pixel_values(Image.open(PICTURES / name), Tiling())) for name in names]
    for row, mask, golden, count in zip(
        found["input_ids"], found["attention_mask"], expected["rows"], tiles, strict=True
    ):
        pads = golden["pad"]
        assert mask.tolist() == [0] * pads + [1] * (len(row) - pads)
        assert processor.decode(row[pads]) == golden["phantom_token"]
        context = f"{IMAGE_CONTEXT}*{count * 256}"
        assert processor.decode(row[pads:]).replace(IMAGE_CONTEXT * (count * 256), context) == golden["prompt"]


@pytest.mark.parametrize("arch", STYLE_OF)
def test_official_folder(tmp_path, arch):
    config = json.loads((GOLDEN / f"{arch}-1.0" / "config.json").read_text())
    config |= {"max_dynamic_patch": 12, "use_thumbnail": False}  # the released code reads neither: 1 to 6, thumbnail
    (tmp_path / "config.json").write_text(json.dumps(config))
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = "{{ 'the language model has another one' }}"
    tokenizer.save_pretrained(tmp_path)
    processor = PhantomProcessor.from_pretrained(tmp_path)
    assert processor.image_processor.tiling == Tiling(56, 1, 6, True)
    assert processor.tokens_per_tile == 4
    assert processor.chat_template == CHAT_TEMPLATES[STYLE_OF[arch]]
    expected = render(STYLE_OF[arch], ask("Hi"), True)
    assert processor.apply_chat_template(ask("Hi"), add_generation_prompt=True) == expected
    assert processor.tokenizer.apply_chat_template(ask("Hi"), add_generation_prompt=True, tokenize=False) == expected


def test_saved_and_loaded_it_does_the_same(official, tmp_path):
    first = PhantomProcessor.from_pretrained(official, max_tiles=3)
    first.save_pretrained(tmp_path / "ours")
    second = PhantomProcessor.from_pretrained(tmp_path / "ours")
    assert second.image_processor.tiling == Tiling(56, 1, 3)
    assert (second.tokens_per_tile, second.chat_template) == (4, first.chat_template)
    chat = ask(picture(grey(90, 30)), "What?")
    a, b = (p.apply_chat_template(chat, tokenize=True, return_dict=True, return_tensors="pt") for p in (first, second))
    assert a["pixel_values"].shape == (4, 3, 56, 56)
    for key in ("input_ids", "attention_mask", "pixel_values"):
        assert torch.equal(a[key], b[key])
    assert PhantomProcessor.from_pretrained(tmp_path / "ours", max_tiles=1).image_processor.max_tiles == 1


def test_several_pictures_flat_nested_and_in_order(processor):
    texts = ["<|im_start|>a<image>b<image>", "no picture", "<image>"]
    wide, square, tall = grey(200, 56, 10), grey(20, 20, 100), grey(56, 120, 250)
    flat = processor([wide, square, tall], texts, return_tensors="np")
    nested = processor([[wide, square], [], [tall]], texts, return_tensors="np")
    expected = [to_pixel_values(image, Tiling(56)) for image in (wide, square, tall)]
    np.testing.assert_array_equal(flat["pixel_values"], np.concatenate(expected))
    for key, value in flat.items():
        np.testing.assert_array_equal(value, nested[key])
    counts = [len(tiles) for tiles in expected]
    rows = [expand(texts[0], counts[:2], 4), texts[1], expand(texts[2], counts[2:], 4)]
    for row, mask, text in zip(flat["input_ids"], flat["attention_mask"], rows, strict=True):
        assert processor.decode(row[mask.astype(bool)]) == text
        assert (np.diff(mask) >= 0).all()


def test_text_only(processor):
    found = processor(text="<|im_start|>user\nHi", return_tensors="pt")
    assert set(found) == {"input_ids", "attention_mask"}
    assert processor.batch_decode(found["input_ids"]) == ["<|im_start|>user\nHi"]
    assert processor(text="Hi")["input_ids"] == [processor.tokenizer.encode("Hi")]
    assert processor(images=[], text="Hi")["input_ids"] == processor(text="Hi")["input_ids"]


def test_kinds_of_tensors(processor):
    image = grey(56, 56)
    for kind, array in ((None, np.ndarray), ("np", np.ndarray), ("pt", torch.Tensor)):
        found = processor(image, "<image>", return_tensors=kind)
        assert isinstance(found["pixel_values"], array)
        assert isinstance(found["input_ids"], array if kind else list)
        assert "float32" in str(found["pixel_values"].dtype)
    offsets = processor(image, "a<image>", return_offsets_mapping=True)["offset_mapping"]
    assert offsets[0][:2] == [(0, 1), (1, 6)]


def test_no_bos_and_left_padding_whatever_the_tokenizer_prefers():
    tokenizer = byte_tokenizer()
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", tokenizer.convert_tokens_to_ids("<|im_start|>"))]
    )
    tokenizer.bos_token = "<|im_start|>"
    processor = PhantomProcessor(PhantomImageProcessor(size=56), tokenizer, CHAT_TEMPLATES["chatml"], 4)
    tokenizer.padding_side = "right"
    found = processor(text=["a", "abc"], return_tensors="np")
    assert found["attention_mask"].tolist() == [[0, 0, 1], [1, 1, 1]]
    ids = processor.apply_chat_template(ask("Hi"), tokenize=True, return_dict=True)["input_ids"]
    assert processor.batch_decode(ids) == [render("chatml", ask("Hi"))]


def test_fixed_length(processor):
    found = processor(text=["abc", "a"], padding="max_length", max_length=6, return_tensors="np")
    assert found["attention_mask"].tolist() == [[0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 0, 1]]
    with pytest.raises(EdgeError, match="a prompt has 3 tokens, more than max_length 2"):
        processor(text="abc", max_length=2)


def test_chats_as_text_and_in_batches(processor):
    chats = [ask(picture("a.png"), "one"), ask("two")]
    assert processor.apply_chat_template(chats) == [render("chatml", chat) for chat in chats]
    plain = processor.apply_chat_template([{"role": "user", "content": "<image>three"}])
    assert plain == render("chatml", [{"role": "user", "content": "<image>three"}])
    chats = [ask(picture(grey(200, 56)), "one"), ask("two"), ask("three ", picture(grey(30, 30)))]
    found = processor.apply_chat_template(chats, tokenize=True, return_dict=True, return_tensors="pt")
    context = processor.tokenizer.convert_tokens_to_ids(IMAGE_CONTEXT)
    assert [row.tolist().count(context) for row in found["input_ids"]] == [5 * 4, 0, 1 * 4]
    ids = processor.apply_chat_template(chats[1], tokenize=True)
    assert processor.decode(ids[0]) == render("chatml", chats[1])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.tuples(st.integers(1, 300), st.integers(1, 300)), max_size=3), min_size=1, max_size=3))
def test_every_tile_has_its_tokens(sizes):
    processor = processor_of("phi3", 28, 3)
    texts = ["<|user|>\n" + "<image>" * len(row) for row in sizes]
    found = processor([[grey(*size) for size in row] for row in sizes], texts)
    counts = [[len(to_pixel_values(grey(*size), Tiling(28))) for size in row] for row in sizes]
    context = processor.tokenizer.convert_tokens_to_ids(IMAGE_CONTEXT)
    assert [row.count(context) for row in found["input_ids"]] == [3 * sum(row) for row in counts]
    assert len(found.get("pixel_values", ())) == sum(map(sum, counts))


def test_image_processor_alone(tmp_path):
    images = PhantomImageProcessor(
        size={"height": 28, "width": 28}, min_tiles=2, max_tiles=4, image_std=[0.5, 0.5, 0.5]
    )
    images.save_pretrained(tmp_path)
    again = PhantomImageProcessor.from_pretrained(tmp_path)
    assert again.to_dict() == images.to_dict()
    wide, tall = grey(100, 20), grey(20, 100)
    found = again([wide, [tall, [wide]]], return_tensors="pt")
    tiling = Tiling(28, 2, 4, std=(0.5, 0.5, 0.5))
    expected = [to_pixel_values(image, tiling) for image in (wide, tall, wide)]
    assert found["tiles_per_image"] == [len(tiles) for tiles in expected] == [5, 5, 5]
    np.testing.assert_array_equal(found["pixel_values"].numpy(), np.concatenate(expected))
    again.max_tiles = 2
    assert again(wide)["tiles_per_image"] == [3]
    for wrong in ({"size": {"height": 28, "width": 56}}, {"size": 0}, {"image_mean": [0.5]}, {"max_tiles": 0}):
        with pytest.raises(EdgeError):
            PhantomImageProcessor(**wrong)
    with pytest.raises(EdgeError, match="no picture"):
        again([])


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"text": "<image>"}, "the text: 1 <image> marks, but 0 pictures"),
        ({"text": "x", "images": grey(5, 5)}, "the text: 0 <image> marks, but 1 pictures"),
        ({"text": ["<image>", "x"], "images": [grey(5, 5)] * 2}, "the texts together: 1 <image> marks, but 2"),
        ({"text": ["<image>", "x"], "images": [[], [grey(5, 5)]]}, "text 1: 1 <image> marks, but 0 pictures"),
        ({"text": ["<image>", "x"], "images": [[grey(5, 5)]]}, "1 lists of pictures for 2 texts"),
        ({"text": "<IMG_CONTEXT>"}, "reserved token <IMG_CONTEXT>"),
        ({"text": "<image>", "images": "absent.png"}, "absent.png does not exist"),
        ({"images": grey(5, 5)}, "no text"),
        ({"text": []}, "neither a string nor a list"),
        ({"text": [1]}, "neither a string nor a list"),
        ({"text": "x", "padding": "left"}, "padding is 'left'"),
        ({"text": "x", "padding": "max_length"}, "max_length None"),
        ({"text": ["x", "xy"], "padding": False, "return_tensors": "pt"}, "different lengths"),
        ({"text": "x", "videos": ["v.mp4"]}, "pictures and text only"),
        ({"text": "x", "add_special_tokens": True}, "no BOS"),
    ],
)
def test_mistakes_in_a_call(processor, arguments, problem):
    with pytest.raises(EdgeError) as caught:
        processor(**arguments)
    assert problem in caught.value.problem
    assert "\n" not in caught.value.problem + caught.value.remedy


def test_mistakes_in_a_chat(processor):
    for chat in ([], [{"role": "robot", "content": "x"}], ["x"], ask({"type": "audio"}), ask("</img>"), [ask("x"), []]):
        with pytest.raises(EdgeError):
            processor.apply_chat_template(chat)
    with pytest.raises(EdgeError, match="1 <image> marks, but 0 pictures"):
        processor.apply_chat_template(ask({"type": "image"}), tokenize=True)
    bare = PhantomProcessor(PhantomImageProcessor(), byte_tokenizer())
    with pytest.raises(EdgeError, match="no chat template") as caught:
        bare.apply_chat_template(ask("x"))
    assert "CHAT_TEMPLATES['phi3']" in caught.value.remedy


def test_mistakes_in_a_folder(official, tmp_path):
    load = PhantomProcessor.from_pretrained
    with pytest.raises(EdgeError, match="no setting max_tile"):
        load(official, max_tile=1)
    with pytest.raises(EdgeError, match="is a file"):
        load(official / "config.json")
    with pytest.raises(EdgeError, match="no folder nobody/nothing"):
        load("nobody/nothing", local_files_only=True)
    with pytest.raises(EdgeError, match="no folder"):
        load(tmp_path / "absent" / "deeper")
    (official / "processor_config.json").write_text('{"processor_class": "PhantomProcessor"}')
    with pytest.raises(EdgeError, match="describes no processor"):
        load(official)
    (official / "processor_config.json").write_text('{"processor_class": "InternVLProcessor"}')
    assert load(official).tokens_per_tile == 4
    assert load(official, _from_auto=True, dtype="auto", max_tiles=2).image_processor.max_tiles == 2
    byte_tokenizer(tuple(token for token in SPECIAL if token != "<|im_end|>")).save_pretrained(official)
    with pytest.raises(EdgeError, match=r"no token <\|im_end\|>"):
        load(official)
    (official / "config.json").unlink()
    with pytest.raises(EdgeError, match=r"config\.json"):
        load(official)


def test_no_code_of_a_folder_is_run(official):
    config = json.loads((official / "tokenizer_config.json").read_text())
    config["auto_map"] = {"AutoTokenizer": ["tokenization_x.X", None], "AutoProcessor": "processing_x.X"}
    (official / "tokenizer_config.json").write_text(json.dumps(config))
    for name in ("tokenization_x.py", "processing_x.py"):
        (official / name).write_text("raise RuntimeError('remote code was run')\n")
    processor = PhantomProcessor.from_pretrained(official, trust_remote_code=True)
    assert processor.decode(processor(text="safe")["input_ids"][0]) == "safe"


def test_tokens_of_a_style_are_what_its_prompts_start_and_end_with():
    tokenizer = byte_tokenizer()
    for style in STYLES:
        ids = tokenizer.encode(render(style, ask("x")))
        first, last = STYLES[style].tokens[0], STYLES[style].tokens[-1]
        assert tokenizer.convert_ids_to_tokens([ids[0], ids[-1]]) == [first, last]
