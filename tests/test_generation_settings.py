"""Generation settings of a checkpoint: carried into bundles and applied alike, or ignored by both and named."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bundles import export_onnx, resealed
from command_line import document, edge_inside, flat
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from transformers import GenerationConfig

from phantom_edge.bundle.folder import Bundle, read_manifest
from phantom_edge.bundle.prompt import Generation
from phantom_edge.checkpoint.generation import NEUTRAL, STOPS, TOKENS, carried
from phantom_edge.checkpoint.pretrained import PhantomForConditionalGeneration
from phantom_edge.checkpoint.source import Source
from phantom_edge.convert.convert import convert
from phantom_edge.data.examples import Query
from phantom_edge.data.scenes.draw import draw_scene
from phantom_edge.data.scenes.questions import ask
from phantom_edge.data.scenes.sample import make_scene
from phantom_edge.evaluate.bundle_answerer import BundleAnswerer
from phantom_edge.evaluate.torch_answerer import TorchAnswerer
from phantom_edge.export.proof.verify import check_source
from phantom_edge.export.sessions import open_session
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.generate import Answer, Sampling, load, make_inputs, stream
from phantom_edge.models.shipped import NANO
from phantom_edge.processing.processor import PhantomProcessor
from phantom_edge.runtime.constraints import constraint
from phantom_edge.runtime.sampling import Sampling as BundleSampling
from phantom_edge.runtime.session import Answer as BundleAnswer

NEW, QUESTIONS, FEW, STREAMED = 20, 200, 10, 5
IM_END = 2
"""Nano's own stop token."""


@pytest.fixture(scope="module")
def nano() -> tuple[PhantomForConditionalGeneration, PhantomProcessor]:
    return load(str(NANO), torch.float32)


Written = Callable[..., Path]


@pytest.fixture
def nano_with(tmp_path: Path) -> Written:
    """A copy of nano whose generation_config.json has these settings, too."""

    def write(**changed: object) -> Path:
        folder = tmp_path / "checkpoint"
        shutil.copytree(NANO, folder, dirs_exist_ok=True)
        own = json.loads((NANO / "generation_config.json").read_text())
        (folder / "generation_config.json").write_text(json.dumps(own | changed))
        return folder

    return write


@pytest.fixture(scope="module")
def queries(tmp_path_factory: pytest.TempPathFactory) -> list[Query]:
    """200 questions about drawn scenes, those about a picture one after the other."""
    folder = tmp_path_factory.mktemp("scenes")
    found: list[Query] = []
    for seed in range(QUESTIONS):
        scene, path = make_scene(seed, "test"), folder / f"{seed}.png"
        draw_scene(scene).save(path)
        found += [Query(question.text, (path,)) for question in ask(scene)]
        if len(found) >= QUESTIONS:
            return found[:QUESTIONS]
    raise AssertionError("too few questions")


# the same text


@pytest.mark.parametrize(
    "count", [pytest.param(FEW, marks=pytest.mark.slow), pytest.param(QUESTIONS, marks=pytest.mark.long)]
)
def test_every_setting_is_the_same_in_checkpoint_and_bundle(
    count: int,
    nano: tuple[PhantomForConditionalGeneration, PhantomProcessor],
    queries: list[Query],
    nano_with: Written,
    tmp_path: Path,
) -> None:
    """The same text for every question; for a few also one by one, as transformers generates.

    Every setting has long tests; else those are tried that no other test of this module covers.
    """
    queries = queries[:: QUESTIONS // count]
    comma, colour = (nano[1].tokenizer.encode(text, add_special_tokens=False) for text in (",", "red"))
    assert len(comma) == len(colour) == 1
    seen = TorchAnswerer(*nano, None, NEW).answer(queries)
    words = sorted({token for text in seen for token in nano[1].tokenizer.encode(text, add_special_tokens=False)})
    cases: dict[str, tuple[dict[str, object], bool]] = {
        "none": ({}, False),
        "penalty 1.1": ({"repetition_penalty": 1.1}, True),
        "penalty 3": ({"repetition_penalty": 3}, True),
        "n-gram ban 2": ({"no_repeat_ngram_size": 2}, True),
        "minimum length 12, of prompt and answer": ({"min_length": 12}, False),
        "minimum length 75": ({"min_length": 75}, True),
        "12 new tokens": ({"min_new_tokens": 12, "min_length": 1}, True),
        "suppressed": ({"suppress_tokens": words[::3]}, True),
        "suppressed at the beginning": ({"begin_suppress_tokens": words[::2]}, True),
        "two stop tokens": ({"eos_token_id": [IM_END, *comma]}, True),
        "stop tokens as text": ({"eos_token_id": ["<|im_end|>", ",", str(colour[0])]}, True),
        "all together": (
            {"repetition_penalty": 1.3, "no_repeat_ngram_size": 3, "min_new_tokens": 4, "suppress_tokens": words[::5]},
            True,
        ),
        "ignored": ({"do_sample": True, "temperature": 5.0, "top_k": 9, "num_beams": 4, "max_length": 3}, False),
    }
    chosen = (
        cases if count == QUESTIONS else ("none", "minimum length 75", "stop tokens as text", "all together", "ignored")
    )
    for name in chosen:
        changed, matters = cases[name]
        folder = nano_with(**changed)
        bundle = export_onnx(folder, tmp_path / name, max_context=512)
        assert bundle.manifest.generation == Source.open(folder).carried.generation
        model = load(str(folder), torch.float32)
        expected = TorchAnswerer(*model, None, NEW).answer(queries)
        found = BundleAnswerer(open_session(bundle.path, 1), NEW).answer(queries)
        assert found == expected, name
        assert matters or expected == seen, name
        assert expected != seen or not matters or count < QUESTIONS, name
        for query, text in list(zip(queries, expected, strict=True))[:: count // STREAMED]:
            assert "".join(stream(*model, query.question, query.images, Sampling(NEW))) == text, name
        shutil.rmtree(bundle.path)


def test_beams_apply_what_is_carried_and_nothing_else(nano_with: Written, queries: list[Query]) -> None:
    banning = load(str(nano_with(no_repeat_ngram_size=1, length_penalty=-9.0, num_beams=7)), torch.float32)
    plain = load(str(NANO), torch.float32)
    query = Query("Describe the picture briefly.", queries[0].images)
    inputs = make_inputs(*plain, query.question, query.images)
    out = plain[0].generate(**inputs, max_new_tokens=NEW, num_beams=3, no_repeat_ngram_size=1, do_sample=False)
    wanted = plain[1].tokenizer.decode(out[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    sampling = Sampling(NEW, beams=3)
    assert list(stream(*banning, query.question, query.images, sampling)) == [wanted]
    assert list(stream(*plain, query.question, query.images, sampling)) != [wanted]


def test_the_token_that_ends_an_answer_is_not_in_its_text(
    nano: tuple[PhantomForConditionalGeneration, PhantomProcessor], nano_with: Written, queries: list[Query]
) -> None:
    (red,) = nano[1].tokenizer.encode("red", add_special_tokens=False)
    model = load(str(nano_with(eos_token_id=[IM_END, red])), torch.float32)
    texts = TorchAnswerer(*nano, None, NEW).answer(queries)
    ends = [query for query, text in zip(queries, texts, strict=True) if text == "red"][:1]
    for beams in (1, 2):
        answer = Answer()
        list(stream(*model, ends[0].question, ends[0].images, Sampling(NEW, beams=beams), answer))
        assert (answer.text, answer.tokens, answer.stopped_by) == ("", 1, "end of turn")
    assert TorchAnswerer(*model, None, NEW).answer(ends) == [""]


# constraints

REAL = st.floats(-60, 60, width=32)


@st.composite
def states(draw: st.DrawFn) -> tuple[Generation, list[int], list[int], int, np.ndarray]:
    """Settings, stop tokens, tokens so far, the number of them that are the prompt, and logits."""
    vocab = draw(st.integers(3, 24))
    token = st.integers(0, vocab - 1)
    few = st.lists(token, unique=True, max_size=vocab - 2)
    ids = draw(st.lists(token, min_size=1, max_size=40))
    generation = Generation(
        repetition_penalty=draw(st.sampled_from((1.0, 1.1, 3.0, 0.7)) | st.floats(1e-6, 1e6)),
        no_repeat_ngram=draw(st.integers(0, 6)),
        min_length=draw(st.integers(0, 50)),
        min_new_tokens=draw(st.integers(0, 20)),
        suppress_tokens=tuple(draw(few)),
        begin_suppress_tokens=tuple(draw(few)),
    )
    logits = draw(arrays.arrays(np.float32, vocab, elements=REAL | st.sampled_from((0.0, -0.0))))
    return generation, draw(st.lists(token, unique=True, min_size=1)), ids, draw(st.integers(1, len(ids))), logits


@settings(max_examples=400, deadline=None)
@given(state=states())
def test_constraints_are_those_of_transformers(
    state: tuple[Generation, list[int], list[int], int, np.ndarray],
    nano: tuple[PhantomForConditionalGeneration, PhantomProcessor],
) -> None:
    """Bit for bit, and in transformers' own order; or an error where it would leave no token."""
    generation, stops, ids, prompt, logits = state
    config = GenerationConfig(
        repetition_penalty=generation.repetition_penalty,
        no_repeat_ngram_size=generation.no_repeat_ngram,
        min_length=generation.min_length,
        min_new_tokens=generation.min_new_tokens,
        suppress_tokens=list(generation.suppress_tokens) or None,
        begin_suppress_tokens=list(generation.begin_suppress_tokens) or None,
    )
    config._eos_token_tensor = torch.tensor(stops)
    processors = nano[0]._get_logits_processor(config, input_ids_seq_length=prompt, device="cpu")
    wanted = processors(torch.tensor([ids]), torch.from_numpy(logits.copy())[None])[0].numpy()
    before = logits.copy()
    change = constraint(generation, stops, prompt)
    if np.isneginf(wanted).all():
        with pytest.raises(EdgeError, match="ban every token"):
            change(ids, logits)
    else:
        found = change(ids, logits)
        assert found.dtype == np.float32 and found.tobytes() == wanted.tobytes()
    assert logits.tobytes() == before.tobytes()


def test_an_answer_that_no_token_is_left_for_ends_in_one_error(
    nano_with: Written, queries: list[Query], tmp_path: Path
) -> None:
    """Where a checkpoint bans all but the token that it must not begin with; such a bundle is never written."""
    folder = nano_with(suppress_tokens=list(range(1023)), begin_suppress_tokens=[1023])
    model = load(str(folder), torch.float32)
    with pytest.raises(EdgeError, match="ban every token"):
        export_onnx(folder, tmp_path / "refused", max_context=512)
    assert not (tmp_path / "refused").exists()
    bundle = export_onnx(NANO, tmp_path / "bundle", max_context=512)
    bans = Generation(suppress_tokens=tuple(range(1023)), begin_suppress_tokens=(1023,))
    session = open_session(bundle.path, 1)
    session.manifest = replace(session.manifest, generation=bans)
    for answer in (
        lambda: list(stream(*model, "hi", [], Sampling(4))),
        lambda: list(stream(*model, "hi", [], Sampling(4, beams=2))),
        lambda: list(stream(*model, "hi", [], Sampling(4, temperature=1.0))),
        lambda: TorchAnswerer(*model, None, 4).answer([Query("hi")]),
        lambda: list(session.ask("hi")),
        lambda: list(session.ask("hi", sampling=BundleSampling(4, temperature=1.0))),
    ):
        with pytest.raises(EdgeError, match="ban every token"):
            answer()


def test_banned_tokens_are_never_drawn_and_raw_logits_are_checked(nano_with: Written, tmp_path: Path) -> None:
    allowed = [7, 8, 9]
    folder = nano_with(suppress_tokens=[token for token in range(1024) if token not in allowed])
    session = open_session(export_onnx(folder, tmp_path / "bundle", max_context=512).path, 1)
    for sampling in (BundleSampling(30, temperature=9.0, seed=1), BundleSampling(30, temperature=2.0, top_k=400)):
        answer = BundleAnswer()
        list(session.ask("hi", sampling=sampling, answer=answer))
        assert len(answer.ids) == 30 and set(answer.ids) <= set(allowed)
    choose = BundleSampling().chooser(constraint(Generation(suppress_tokens=(0,)), (1,), 1))
    for wrong in (np.nan, np.inf, -np.inf):
        with pytest.raises(EdgeError, match="not finite"):
            choose([1], np.array([wrong, 1, 2], np.float32))
    assert choose([1], np.array([9, 1, 2], np.float32)) == 2


# reading


@pytest.mark.parametrize(
    ("field", "values", "remedy"),
    [
        ("repetition_penalty", (0, -1.5, "1.1", True, [1.1], float("nan"), float("inf"), 1e-7, 1e400), "1e-06 to"),
        ("no_repeat_ngram_size", (-1, 2.0, "2", False, 2**21, float("nan"), [2]), "whole number"),
        ("min_length", (-1, 1.5, "12", 10**30, {}), "whole number"),
        ("min_new_tokens", (-3, "12", 0.5, True), "whole number"),
        ("suppress_tokens", ([-1], [1024], [1.0], "<no token>", [None], [[1]], [True], 10**30, {}), "remove|number"),
        ("begin_suppress_tokens", ([5, -100], [[]]), "remove"),
        ("eos_token_id", (1024, -1, [IM_END, 5000], "red and green", ["99999"], 2.0, True, ""), "remove|number"),
    ],
)
def test_impossible_settings_are_one_clear_line(
    field: str, values: tuple[object, ...], remedy: str, nano_with: Written, tmp_path: Path
) -> None:
    for value in values:
        folder = nano_with(**{field: value})
        for read in (
            PhantomForConditionalGeneration.from_pretrained,
            lambda folder: Source.open(folder).carried,
            lambda folder: convert(folder, tmp_path / "out"),
        ):
            with pytest.raises(EdgeError, match=rf"generation_config.json: {field} (is|has) ") as caught:
                read(folder)
            assert "\n" not in caught.value.problem and len(caught.value.problem) < 400
            assert any(word in caught.value.remedy for word in remedy.split("|")), caught.value.remedy
    assert not (tmp_path / "out").exists()


def test_all_tokens_suppressed_or_none_to_stop_at(nano_with: Written) -> None:
    with pytest.raises(EdgeError, match="suppress_tokens has all 1,024 tokens"):
        load(str(nano_with(suppress_tokens=list(range(1024)))))
    folder = nano_with(eos_token_id=None)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"eos_token_id": None}))
    with pytest.raises(EdgeError, match="names no token that ends an answer"):
        _ = Source.open(folder).carried


@pytest.mark.parametrize("place", ["generation_config.json", "config.json"])
@pytest.mark.parametrize(
    ("given", "wanted"), [("<|im_end|>", [2]), ("3", [3]), (["red", 2], [2, 334]), (["<|im_start|>", "11"], None)]
)
def test_a_stop_token_as_text_is_its_id_everywhere(
    place: str, given: object, wanted: list[int] | None, nano_with: Written, tmp_path: Path
) -> None:
    folder = nano_with()
    ids = wanted or sorted((11, load(str(NANO))[1].tokenizer.convert_tokens_to_ids("<|im_start|>")))
    for name in ("generation_config.json", "config.json"):
        document = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(document | {"eos_token_id": given if name == place else ids[0]}))
    model = PhantomForConditionalGeneration.from_pretrained(folder)
    assert list(carried(model.generation_config, model.config).stop_tokens) == ids
    assert list(Source.open(folder).carried.stop_tokens) == ids
    assert "<" not in str(model.generation_config.eos_token_id) and "<" not in str(model.config.eos_token_id)
    convert(folder, tmp_path / "copy", to_official=False)
    assert list(Source.open(tmp_path / "copy").carried.stop_tokens) == ids


def test_a_text_that_no_tokenizer_reads(nano_with: Written) -> None:
    folder = nano_with(eos_token_id="<|im_end|>")
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (folder / file).unlink()
    with pytest.raises(EdgeError, match=r"eos_token_id is '<\|im_end\|>', and .* has no tokenizer") as caught:
        PhantomForConditionalGeneration.from_pretrained(folder)
    assert caught.value.remedy == "give the token's number"


def test_min_new_tokens_replaces_min_length_as_in_transformers(nano_with: Written) -> None:
    for new, total in ((3, 0), (0, 0), (None, 90)):
        found = Source.open(nano_with(min_length=90, min_new_tokens=new)).carried.generation
        assert (found.min_new_tokens, found.min_length) == (new or 0, total)


def test_every_field_of_transformers_is_carried_ignored_or_without_effect_on_text() -> None:
    """A new version's fields are not overlooked."""
    count = {"repetition_penalty", "no_repeat_ngram_size", "min_length", "min_new_tokens", STOPS, *TOKENS}
    without = {
        *("pad_token_id", "bos_token_id", "decoder_start_token_id", "transformers_version", "_from_model_config"),
        *("use_cache", "cache_config", "max_cache_len", "prefill_chunk_size", "low_memory", "compile_config"),
        *("disable_compile", "continuous_batching_config", "output_attentions", "output_hidden_states"),
        *("output_scores", "output_logits", "return_dict_in_generate"),
        # drafts, which the model confirms
        *("is_assistant", "num_assistant_tokens", "num_assistant_tokens_schedule", "assistant_confidence_threshold"),
        *("prompt_lookup_num_tokens", "max_matching_ngram_size", "assistant_early_exit", "assistant_lookbehind"),
        *("target_lookbehind", "speculation_type", "use_mtp"),
    }
    assert {*vars(GenerationConfig())} - without - count == NEUTRAL.keys()
    defaults = GenerationConfig._get_default_generation_params()
    wrong = [name for name in NEUTRAL if defaults.get(name) not in (None, *NEUTRAL[name])]
    assert wrong == []


# commands


@pytest.fixture(scope="module")
def penalized(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path, dict[str, Any], str]]:
    """A checkpoint with settings of both kinds, its bundle, and what export printed: document and notes."""
    desk = tmp_path_factory.mktemp("penalized")
    shutil.copytree(NANO, desk / "checkpoint")
    both = {"repetition_penalty": 3, "do_sample": True, "temperature": 0.7, "top_k": 50, "stop_strings": ["."]}
    (desk / "checkpoint" / "generation_config.json").write_text(json.dumps(both))
    arguments = ("-t", "onnx", "-o", desk / "bundle", "--max-context", 256, "--no-verify", "--json")
    done = edge_inside("export", desk / "checkpoint", *arguments)
    assert done.returncode == 0, done.stderr
    yield desk / "checkpoint", desk / "bundle", json.loads(done.stdout), done.stderr


def test_export_names_what_it_ignores(penalized: tuple[Path, Path, dict[str, Any], str]) -> None:
    _, bundle, shown, notes = penalized
    assert shown["ignored_settings"] == {"do_sample": True, "temperature": 0.7, "stop_strings": ["."]}
    _, mark, line = flat(notes).partition("ignored of generation_config.json")
    assert mark and "do_sample True" in line and "temperature 0.7" in line and "stop_strings ['.']" in line
    assert "top_k" not in line and "repetition_penalty" not in line
    assert read_manifest(bundle).generation == Generation(repetition_penalty=3.0)
    assert document("inspect", bundle)["generation"]["repetition_penalty"] == 3
    assert "repetition_penalty 3.0" in edge_inside("inspect", bundle).stdout


def test_verify_compares_the_settings(penalized: tuple[Path, Path, dict[str, Any], str], tmp_path: Path) -> None:
    """A bundle that lacks them, as those of schema 1 do, would answer otherwise than its checkpoint."""
    checkpoint, bundle, *_ = penalized
    assert edge_inside("verify", bundle).returncode == 0
    shutil.copytree(bundle, tmp_path / "old")
    resealed(tmp_path / "old", lambda manifest: manifest.update(generation={}))
    done = edge_inside("verify", tmp_path / "old", "--against", checkpoint)
    assert done.returncode == 1
    assert "its generation settings have repetition_penalty 1.0, and the checkpoint's 3.0" in done.stderr
    with pytest.raises(EdgeError, match="generation settings"):
        check_source(Bundle.open(bundle), Source.open(NANO))
    check_source(Bundle.open(bundle), Source.open(checkpoint))
