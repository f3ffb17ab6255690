"""The container for LiteRT-LM: its template writes our prompts, and LiteRT-LM gives our sessions' answers."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import jinja2
import pytest
from export_settings import settings_for
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

pytest.importorskip("ai_edge_litert", reason="LiteRT (ai-edge-litert) is not installed")
pytest.importorskip("litert_lm_builder", reason="LiteRT-LM's builder (litert-lm-builder) is not installed")

from litert_lm_answers import ROOT, answers

from phantom_edge.bundle.folder import Bundle
from phantom_edge.bundle.prompt import Prompt
from phantom_edge.checkpoint.source import Source
from phantom_edge.export.pipeline import export_bundle
from phantom_edge.export.proof.words import TEMPLATE, TOKENIZER
from phantom_edge.export.sessions import open_session
from phantom_edge.export.targets.litert.container import CONTAINER, MARK, metadata, template_of
from phantom_edge.export.targets.litert.importing import container_metadata
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.models.shipped import NANO
from phantom_edge.runtime.sampling import Sampling

sys.path.insert(0, str(ROOT))

from benchmarks.litert_lm import tiles_of

SAMPLES = sorted(ROOT.glob("apps/samples/*/*.png"))
QUESTIONS = ("What is in the picture?", "What is the price?", "Is it red?")


@pytest.fixture(scope="module")
def source() -> Source:
    return Source.open(NANO)


@pytest.fixture(scope="module")
def prompt(source: Source) -> Prompt:
    return source.prompt(TOKENIZER, TEMPLATE)


Parts = Sequence[str | int]
"""Content of a message: texts, and pictures by their number of tiles."""

PARTS = st.lists(st.one_of(st.text("ab \n?'\"{}é", min_size=0, max_size=6), st.integers(1, 3)), max_size=4)


def apart(parts: Parts) -> list[str | int]:
    """The same with an empty text between neighbouring pictures."""
    found: list[str | int] = []
    for part in parts:
        if found and isinstance(part, int) and isinstance(found[-1], int):
            found.append("")
        found.append(part)
    return found


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["user", "assistant", "system"]), PARTS), min_size=1, max_size=3))
def test_the_template_writes_our_prompts(source: Source, prompt: Prompt, conversation: list[tuple[str, Parts]]) -> None:
    """With a mark a tile, and the texts around pictures; roles as LiteRT-LM calls them."""
    images = prompt.images
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(template_of(prompt, "nano"))
    theirs, ours = [], []
    for role, parts in conversation:
        content: list[dict[str, str]] = []
        whole = ""
        for part in apart(parts):
            if isinstance(part, int):
                content += [{"type": "image"}] * part
                whole += images.start + MARK * part + images.end
            else:
                content.append({"type": "text", "text": part})
                whole += part
        theirs.append({"role": {"assistant": "model"}.get(role, role), "content": content})
        ours.append({"role": role, "content": whole})
    wanted = environment.from_string(source.processor.chat_template)
    assert template.render(messages=theirs, add_generation_prompt=True) == wanted.render(
        messages=ours, add_generation_prompt=True
    )


def test_metadata(source: Source, prompt: Prompt) -> None:
    found = container_metadata().LlmMetadata()
    found.ParseFromString(metadata(prompt, source.pictures(None), 512, "nano"))
    assert [list(one.token_ids.ids) for one in found.stop_tokens] == [[one] for one in prompt.stop_tokens]
    assert found.max_num_tokens == 512 and (found.sampler_params.k, found.sampler_params.temperature) == (1, 1)
    assert found.llm_model_type.generic_model.image_tensor_height == source.pictures(None).tile_size


def test_a_template_with_more_than_texts_is_refused(prompt: Prompt) -> None:
    with pytest.raises(EdgeError, match="--no-container"):
        template_of(replace(prompt, turns=None), "nano")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    asked = settings_for("litert", max_context=640)
    return export_bundle(str(NANO), "litert", tmp_path_factory.mktemp("lm") / "bundle", asked, prove=False).bundle


@pytest.mark.long
def test_litert_lm_gives_our_answers(bundle: Bundle, tmp_path: Path) -> None:
    """Google's own engine, over pictures of one tile and of several."""
    pytest.importorskip("litert_lm", reason="LiteRT-LM (litert-lm-api) is not installed")
    session = open_session(bundle.path)
    wide = Image.new("RGB", (448, 224))
    for number, picture in enumerate(SAMPLES[:2]):
        wide.paste(Image.open(picture), (224 * number, 0))
    wide.save(tmp_path / "wide.png")
    asked = [(picture, question) for picture in (*SAMPLES[:4], tmp_path / "wide.png") for question in QUESTIONS]
    assert len(tiles_of(bundle, tmp_path / "wide.png", tmp_path)) == 3
    found = answers(
        bundle.file(CONTAINER), [(tiles_of(bundle, picture, tmp_path), question) for picture, question in asked]
    )
    ours = ["".join(session.ask(question, [picture], Sampling(32))) for picture, question in asked]
    assert found == ours
