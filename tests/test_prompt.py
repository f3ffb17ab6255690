"""Prompts, letter by letter those of the released code."""

import json
import re
from pathlib import Path

import jinja2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2.sandbox import ImmutableSandboxedEnvironment

from phantom_edge.foundation.errors import EdgeError
from phantom_edge.processing.prompt import (
    CHAT_TEMPLATES,
    IMAGE_CONTEXT,
    IMAGE_MARK,
    IMAGE_TOKENS,
    STYLES,
    check_marks,
    expand,
    render,
)

GOLDEN = Path(__file__).parent / "golden"
STYLE_OF = {"0_5b": "chatml", "1_8b": "chatml", "3_8b": "phi3", "7b": "chatml"}
QUESTION = "Describe the image in detail"


def golden(arch: str) -> dict:
    return json.loads((GOLDEN / f"prompts-{arch}.json").read_text())


def ask(question: str) -> list[dict]:
    return [{"role": "user", "content": question}]


def by_jinja(style: str, messages: list[dict], add_generation_prompt: bool) -> list[str]:
    """The template as a plain Jinja and as transformers' (which trims blocks) render it."""
    plain = jinja2.Environment().from_string(CHAT_TEMPLATES[style])
    trimming = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True).from_string(CHAT_TEMPLATES[style])
    return [t.render(messages=messages, add_generation_prompt=add_generation_prompt) for t in (plain, trimming)]


@pytest.mark.parametrize("arch", STYLE_OF)
def test_make_instruction(arch):
    for cases in golden(arch)["make_instruction"].values():
        for prompt in cases.values():
            opening, closing = STYLES[STYLE_OF[arch]].opening("user"), STYLES[STYLE_OF[arch]].end
            question = prompt.removeprefix(opening).partition(closing)[0]
            assert QUESTION in question
            assert render(STYLE_OF[arch], ask(question), True) == prompt
            assert by_jinja(STYLE_OF[arch], ask(question), True) == [prompt, prompt]
    plain, marked = golden(arch)["make_instruction"]["demo"].values()
    image, text = {"type": "image"}, {"type": "text", "text": QUESTION}
    assert render(STYLE_OF[arch], [{"role": "user", "content": [image, text]}], True) == plain
    assert render(STYLE_OF[arch], [{"role": "user", "content": [image, image, text]}], True) == marked


@pytest.mark.parametrize(
    ("case", "question", "tiles"),
    [
        ("demo, one image (640x480: 7 tiles)", [f"<image>{QUESTION}"], [[7]]),
        (
            "demo, batch image(448x448: 1 tile)+image(1000x300: 4 tiles)",
            ["<image>Short", f"<image>{QUESTION}"],
            [[1], [4]],
        ),
        ("demo, two <image> marks in the question text", ["<image>A <image> B"], [[1, 1]]),
        ("mme, image, question without mark", [QUESTION], [[]]),
    ],
)
@pytest.mark.parametrize("arch", STYLE_OF)
def test_eval_process(arch, case, question, tiles):
    rows = golden(arch)["eval_process"][case]["rows"]
    for row, words, counts in zip(rows, question, tiles, strict=True):
        written = re.sub(r"<IMG_CONTEXT>\*(\d+)", lambda match: IMAGE_CONTEXT * int(match[1]), row["prompt"])
        assert expand(render(STYLE_OF[arch], ask(words), True), counts, 256) == written


@pytest.mark.parametrize("style", STYLES)
def test_whole_conversations(style):
    chat = [
        {"role": "system", "content": "Be brief.\n"},
        {
            "role": "user",
            "content": [{"type": "text", "text": " Is "}, {"type": "image"}, {"type": "text", "text": "a\n"}],
        },
        {"role": "assistant", "content": "{{ no }}  "},
        {"role": "user", "content": ""},
    ]
    first, end = ("<|im_start|>{}\n", "<|im_end|>") if style == "chatml" else ("<|{}|>\n", "<|end|>")
    words = ["Be brief.\n", " Is <image>a\n", "{{ no }}  ", ""]
    expected = "".join(first.format(m["role"]) + w + end for m, w in zip(chat, words, strict=True))
    for length in range(1, 5):
        part = expected if length == 4 else end.join(expected.split(end)[:length]) + end
        for prompt in (True, False):
            whole = part + (first.format("assistant") if prompt else "")
            assert render(style, chat[:length], prompt) == whole
            assert by_jinja(style, chat[:length], prompt) == [whole, whole]


@pytest.mark.parametrize("style", STYLES)
def test_the_first_token_is_the_sentinel(style):
    assert render(style, ask("x")).startswith(STYLES[style].tokens[0])
    assert render(style, ask("x")).endswith(STYLES[style].tokens[-1])


words = st.text(st.characters(exclude_characters="<>")).map(lambda text: text.replace("\r", ""))


@given(st.lists(st.tuples(words, st.integers(0, 7)), max_size=4), words, st.integers(1, 9))
def test_expansion_counts_every_token_and_keeps_every_word(parts, last, tokens_per_tile):
    text = "".join(before + IMAGE_MARK for before, _ in parts) + last
    tiles = [count for _, count in parts]
    found = expand(text, tiles, tokens_per_tile)
    runs = re.findall(f"<img>((?:{IMAGE_CONTEXT})*)</img>", found)
    assert [run.count(IMAGE_CONTEXT) for run in runs] == [count * tokens_per_tile for count in tiles]
    assert re.sub("<img>.*?</img>", IMAGE_MARK, found) == text


@given(
    st.lists(st.tuples(st.sampled_from(["system", "user", "assistant"]), words), min_size=1, max_size=4), st.booleans()
)
def test_jinja_writes_what_render_writes(turns, prompt):
    chat = [{"role": role, "content": content} for role, content in turns]
    for style in STYLES:
        assert set(by_jinja(style, chat, prompt)) == {render(style, chat, prompt)}


@pytest.mark.parametrize("token", IMAGE_TOKENS)
def test_words_may_not_pass_as_image_tokens(token):
    with pytest.raises(EdgeError, match=f"reserved token {token}"):
        expand(f"a {token} b", [], 256)
    with pytest.raises(EdgeError, match=f"reserved token {token}"):
        render("chatml", ask(f"a {token} b"))
    with pytest.raises(EdgeError, match="reserved token"):
        split = [{"type": "text", "text": token[:2]}, {"type": "text", "text": token[2:]}]
        render("chatml", [{"role": "user", "content": split}])


def test_marks_and_pictures_must_match():
    with pytest.raises(EdgeError, match="2 <image> marks, but 1 pictures") as caught:
        expand("<image> and <image>", [7], 256)
    assert "one <image> for every picture" in caught.value.remedy
    with pytest.raises(EdgeError, match="1 <image> marks, but 0 pictures") as caught:
        check_marks("<image>", 0)
    assert "images=" in caught.value.remedy


@pytest.mark.parametrize(
    ("style", "messages", "problem"),
    [
        ("vicuna", ask("x"), "no prompt style 'vicuna'"),
        ("chatml", [], "conversation is empty"),
        ("chatml", [{"role": "tool", "content": "x"}], "role 'tool'"),
        ("chatml", [{"content": "x"}], "role None"),
        ("chatml", [{"role": "user"}], "no content"),
        ("chatml", ["x"], "a message is a str"),
        ("chatml", [{"role": "user", "content": [{"type": "video"}]}], "neither image nor text"),
        ("chatml", [{"role": "user", "content": [{"type": "text"}]}], "neither image nor text"),
        ("chatml", [{"role": "user", "content": ["x"]}], "neither image nor text"),
    ],
)
def test_messages_that_no_template_can_write(style, messages, problem):
    with pytest.raises(EdgeError, match=problem):
        render(style, messages)
