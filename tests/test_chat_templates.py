"""Chat templates: a bundle writes the prompts that transformers writes for its checkpoint, or nothing is written."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from multiprocessing import get_context
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from typing import Any

import pytest
from bundles import export_onnx
from chat_templates import TEMPLATES, with_template
from transformers.utils.chat_template_utils import render_jinja_template

from phantom_edge.checkpoint.source import Source
from phantom_edge.export.proof.words import checked_prompt
from phantom_edge.export.sessions import open_session
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.models.shipped import NANO
from phantom_edge.processing.chat_template import ChatTemplate, TemplateFault
from phantom_edge.processing.processor import ONLY_THERE, PhantomProcessor
from phantom_edge.processing.prompt import CHAT_TEMPLATES
from phantom_edge.processing.sample_chats import sample_chats
from phantom_edge.processing.turns import joined, written_out

MORE: dict[str, object] = {"reasoning_content": None, "tool_calls": None}


def theirs(text: str, messages: object, variables: dict[str, str]) -> str | None:
    """Prompt by transformers, None where the template refuses."""
    try:
        found, _ = render_jinja_template([messages], chat_template=text, add_generation_prompt=True, **variables)
    except Exception:
        return None
    return str(found[0])


def ours(text: str, messages: object, variables: dict[str, str]) -> str | None:
    """Prompt by a bundle, None where the template refuses."""
    try:
        return ChatTemplate(text, variables).render(messages)  # type: ignore[arg-type]
    except TemplateFault:
        return None


@pytest.mark.parametrize("name", TEMPLATES)
def test_prompts_are_those_of_transformers(name: str) -> None:
    about = TEMPLATES[name]
    variables = {"eos_token": "<|im_end|>", **about.tokens}
    chats = sample_chats(ChatTemplate(about.text).literals())
    found = {chat.name: ours(about.text, chat.messages, variables) for chat in chats}
    assert found == {chat.name: theirs(about.text, list(chat.messages), variables) for chat in chats}
    assert all(found[read] for read in about.reads), found
    odd = [{"role": "user", "content": "a", "name": b"x"}, {"role": "assistant", "content": "b", "thinking": "c"}]
    assert ours(about.text, odd, variables) == theirs(about.text, odd, variables)


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_bundle_of_each_template_is_checked(name: str, tmp_path: Path) -> None:
    """Each is either fit for a bundle, which then has its turns only where they are exact, or refused in one line."""
    about = TEMPLATES[name]
    source = Source.open(with_template(NANO, tmp_path / "model", about.text, **about.tokens))
    prompt = checked_prompt(source)
    assert prompt.variables == {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", **about.tokens}
    assert (prompt.turns is not None) is about.has_turns
    for order in about.reads:
        chat = next(chat for chat in sample_chats() if chat.name == order)
        assert source.words(chat.messages, chat.tiles)[0] == prompt.first_token


def test_turns_write_what_the_template_writes() -> None:
    for text in CHAT_TEMPLATES.values():
        turns = written_out(text, {})
        assert turns is not None and turns.roles.keys() == {"system", "user", "assistant"}
        for chat in sample_chats():
            assert joined(turns, chat.messages) == ours(text, chat.messages, {}), chat.name
    chatml = CHAT_TEMPLATES["chatml"]
    refuses = "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}" + chatml
    turns = written_out(refuses, {})
    assert turns is not None and turns.roles.keys() == {"user", "assistant"}


NO_TURNS: dict[str, str] = {
    "trim": "{% for m in messages %}<{{ m.role }}>{{ m.content | trim }}</>{% endfor %}",
    "default for empty text": "{% for m in messages %}<{{ m.role }}>{{ m.content or 'x' }}</>{% endfor %}",
    "another first turn": "{% for m in messages %}<{{ loop.first }}>{{ m.content }}</>{% endfor %}",
    "the sixth turn": "{% for m in messages %}<{{ loop.index > 5 }}>{{ m.content }}</>{% endfor %}",
    "the last turn": "{% for m in messages %}{{ m.content }}{{ '' if loop.last else '</>' }}{% endfor %}",
    "a date": "{% for m in messages %}<{{ m.role }}>{{ strftime_now('%Y') }}{{ m.content }}</>{% endfor %}",
    "seconds": "{% for m in messages %}<{{ m.role }}>{{ m.content }}{{ strftime_now('%S') }}</>{% endfor %}",
    "words of its own": "{% for m in messages %}{{ m.content.split('</think>')[-1] }}</>{% endfor %}",
    "markup": "{% for m in messages %}<{{ m.role }}>{{ m.content | escape }}</>{% endfor %}",
    "strict alternation": "{% for m in messages %}{% if (m.role == 'user') == loop.index0 % 2 %}"
    "{{ raise_exception('no') }}{% endif %}<{{ m.role }}>{{ m.content }}</>{% endfor %}",
    "content twice": "{% for m in messages %}{{ m.content }}{{ m.content }}{% endfor %}",
    "no content": "{% for m in messages %}{{ m.role }}{% endfor %}",
    "text alone": "{% for m in messages %}<{{ m.role }}>{{ m.content }}</>{% endfor %}",  # parts come out as a list
    "no template": "{% for %}",
}


@pytest.mark.parametrize("name", NO_TURNS)
def test_no_turns_where_they_are_not_exact(name: str) -> None:
    assert written_out(NO_TURNS[name], {}) is None


def test_the_clock_is_that_of_the_call() -> None:
    now = [datetime(2026, 1, 2)]
    template = ChatTemplate("{{ strftime_now('%d %b %Y') }}", now=lambda: now[0])
    assert template.render([]) == "02 Jan 2026"
    now[0] = datetime(2027, 3, 4)
    assert template.render([]) == "04 Mar 2027"
    assert ChatTemplate("{{ strftime_now('%Y') }}").render([]) == str(datetime.now().year)


ASK = "{% for m in messages %}<|im_start|>{{ m.content }}{% endfor %}"
FAULTY: dict[str, tuple[str, str]] = {
    "unknown tag": ("{% frobnicate %}" + ASK, "unknown tag 'frobnicate'"),
    "unknown filter": ("{{ messages | frobnicate }}" + ASK, "No filter named 'frobnicate'"),
    "unknown function": ("{{ frobnicate() }}" + ASK, "'frobnicate' is undefined"),
    "no end": ("{% for m in messages %}", "line 1"),
    "not closed": ("{{ messages", "line 1"),
    "forbidden": ("{{ messages.__class__.__mro__ }}" + ASK, "SecurityError"),
    "changes messages": ("{{ messages.append(1) }}" + ASK, "SecurityError"),
    "underscored": ("{% set n = namespace(_x=1) %}" + ASK, "SecurityError"),
    "division": ("{{ 1 / 0 }}" + ASK, "ZeroDivisionError"),
    "power": ("{{ 2.5 ** 99999 }}" + ASK, "OverflowError"),
    "range": ("{{ range(10 ** 9) | list }}" + ASK, "OverflowError"),
    "sum of kinds": ("{{ 1 + 'a' }}" + ASK, "TypeError"),
    "no JSON": ("{{ missing | tojson }}" + ASK, "TypeError"),
    "no such key": ("{{ '{x}'.format(y=1) }}" + ASK, "KeyError"),
    "macro without end": ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}" + ASK, "RecursionError"),
    "nested too deep": ("{{ " + "(" * 4000 + "1" + ")" * 4000 + " }}" + ASK, "RecursionError"),
    "too many blocks": ("{% for a in [1] %}" * 30 + "{% endfor %}" * 30 + ASK, "SyntaxError"),
    "its own words": ("{{ raise_exception('no\nsuch   thing') }}" + ASK, "no such thing"),
    "empty prompts": ("", "0 <image>"),
    "no picture": (
        "{% for m in messages %}<|im_start|>{{ m.content.replace('<image>', '') }}{% endfor %}",
        "0 <image>",
    ),
    "nothing but pictures": (
        "{% for m in messages %}{{ '<image>' if '<image>' in m.content else '' }}{% endfor %}",
        "begin with different tokens",
    ),
    "another picture": (ASK.replace("m.content", "m.content.replace('<image>', '<img>')"), "reserved token <img>"),
    "other beginnings": ("{{ messages[0].content[0] }}" + ASK, "begin with different tokens"),
}


@pytest.mark.parametrize("name", FAULTY)
def test_faulty_templates_are_refused_in_one_line(name: str, tmp_path: Path) -> None:
    text, complaint = FAULTY[name]
    model = with_template(NANO, tmp_path / "model", text)
    with pytest.raises(EdgeError) as caught:
        export_onnx(model, tmp_path / "out" / "bundle", prove=False, max_context=64)
    assert complaint in caught.value.problem and "\n" not in caught.value.problem, caught.value.problem
    assert len(caught.value.problem) < 700 and not (tmp_path / "out").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


BOMBS: dict[str, tuple[str, str]] = {
    "a product": ("{{ 'x'.join(range(99999) | map('string')) * 5000 }}", "memory"),
    "a constant": ("{{ 'a' * 2000000000 }}", "memory"),
    "a filter": ("{{ 'a' | center(3000000000) }}", "memory"),
    "a format": ("{{ '%2000000000d' % 1 }}", "memory"),
    "a method": ("{{ 'a'.ljust(3000000000) }}", "memory"),
    "doubling": (
        "{% set n = namespace(x='ab') %}{% for i in range(64) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
        "memory",
    ),
    "long prompts": ("{% for i in range(99999) %}{{ 'a' * 99999 }}{% endfor %}", "4,194,304 characters"),
    "slow constants": ("{{ 9 ** (9 ** 9) % 10 }}", "takes more than 5 s"),
    "loops in loops": (
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "more than 5 s",
    ),
    "an innermost stack": ("{{ " + "-" * 99999 + "1 }}", "Recursion"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_template_takes_no_more_than_its_share(name: str) -> None:
    """Of time, memory and length; the next template is rendered all the same."""
    text, complaint = BOMBS[name]
    before = getrusage(RUSAGE_SELF).ru_maxrss
    with pytest.raises(TemplateFault, match=complaint):
        ChatTemplate(text).render([])
    assert getrusage(RUSAGE_SELF).ru_maxrss - before < 200_000  # KB
    assert ChatTemplate("{{ messages[0].content }}").render([{"role": "user", "content": "still here"}]) == "still here"


def test_a_checkpoint_renders_within_the_same_limits() -> None:
    processor = PhantomProcessor.from_pretrained(NANO)
    with pytest.raises(EdgeError, match=r"cannot write this conversation .*memory"):
        processor.apply_chat_template([{"role": "user", "content": "x"}], BOMBS["a filter"][0], tokenize=True)


OPTIONS: dict[str, dict[str, Any]] = {
    "tools": {"tools": [{"name": "x"}]},
    "documents": {"documents": [{"title": "x", "text": "y"}]},
    "a variable": {"enable_thinking": True},
    "a message to continue": {"continue_final_message": True},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_no_option_evades_the_limits(name: str) -> None:
    processor = PhantomProcessor.from_pretrained(NANO)
    with pytest.raises(EdgeError, match=r"cannot write this conversation .*memory"):
        processor.apply_chat_template([{"role": "user", "content": "x"}], BOMBS["a filter"][0], **OPTIONS[name])


def weather(city: str) -> str:
    """
    Tomorrow's weather.

    Args:
        city: Name of a city.
    """
    return city


WITH_ALL = (
    "{% for m in messages %}[{{ m.role }}]{{ m.content if m.content is string else m.content[-1].text }}."
    "{% endfor %}{{ tools | tojson }}{{ documents | tojson }}{{ mood }}{{ eos_token }}{{ add_generation_prompt }}"
)
CHAT = [{"role": "user", "content": "a "}, {"role": "assistant", "content": [{"type": "text", "text": "b "}]}]


@pytest.mark.parametrize(
    "options",
    [
        {"tools": [weather, {"name": "other"}]},
        {"documents": [{"title": "x", "text": "y"}], "mood": "calm", "eos_token": "!"},
        {"continue_final_message": True},
        {"continue_final_message": "content", "mood": None},
        {"add_generation_prompt": True, "mood": [1, {"a": None}]},
    ],
)
@pytest.mark.parametrize("text", [WITH_ALL, WITH_ALL.replace("[-1].text", "[-1].text.strip()")])
def test_options_do_what_they_do_in_transformers(options: dict[str, Any], text: str) -> None:
    processor = PhantomProcessor.from_pretrained(NANO)
    ((expected,), _) = render_jinja_template(
        [CHAT], chat_template=text, **{**processor.tokenizer.special_tokens_map, **options}
    )
    assert processor.apply_chat_template(CHAT, text, **options) == expected


def test_options_without_limits_are_for_our_own_templates() -> None:
    processor = PhantomProcessor.from_pretrained(NANO)
    chat = [{"role": "user", "content": "x"}]
    for name in ONLY_THERE:
        with pytest.raises(EdgeError, match=f"{name} is for templates of this package"):
            processor.apply_chat_template(chat, "{{ messages }}", **{name: True})
        assert processor.apply_chat_template(chat, CHAT_TEMPLATES["chatml"], **{name: name == "load_audio_from_video"})
    with pytest.raises(EdgeError, match="no text to continue"):
        processor.apply_chat_template([{"role": "user", "content": []}], WITH_ALL, continue_final_message=True)
    with pytest.raises(EdgeError, match="cannot both"):
        processor.apply_chat_template(chat, WITH_ALL, continue_final_message=True, add_generation_prompt=True)


def test_a_fork_has_a_process_of_its_own() -> None:
    template = ChatTemplate("{{ messages[0].content }}")
    with ThreadPoolExecutor(4) as threads, get_context("fork").Pool(2) as forks:
        asked = [[{"role": "user", "content": str(number)}] for number in range(200)]
        there = forks.map_async(template.render, asked)
        assert list(threads.map(template.render, asked)) == there.get() == [str(number) for number in range(200)]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["chatml with the generation tag", "llama 3", "deepseek"])
def test_bundles_read_conversations_as_their_checkpoint_does(name: str, tmp_path: Path) -> None:
    """Exported without a proof: prompts are the checkpoint's all the same."""
    about = TEMPLATES[name]
    model = with_template(NANO, tmp_path / "model", about.text, **about.tokens)
    bundle = export_onnx(model, tmp_path / "bundle", max_context=512)
    session, source = open_session(bundle.path), Source.open(model)
    for chat in sample_chats():
        if chat.name in about.reads:
            ids = session.text.ids(chat.messages, chat.tiles, bundle.manifest.pictures.tokens_per_tile)
            assert ids.tolist() == source.words(chat.messages, chat.tiles), chat.name
    assert "".join(session.ask("Is it red?")) is not None
