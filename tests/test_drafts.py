"""Drafts change how many steps an answer takes, and nothing else."""

import json
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from bundles import export_onnx, resealed
from command_line import edge_inside
from hypothesis import given, settings
from hypothesis import strategies as st
from noise import noise
from profiles import make_run
from safetensors.torch import load_file, save_file

from phantom_edge.api import plan_bundles
from phantom_edge.bundle.folder import Bundle
from phantom_edge.bundle.proof import ABSOLUTE
from phantom_edge.checkpoint.draft import SHAPE, WEIGHTS, WORDS, Draft, read_draft, write_draft
from phantom_edge.checkpoint.source import Source
from phantom_edge.export.proof.verify import verify
from phantom_edge.export.sessions import session_of
from phantom_edge.foundation.errors import EdgeError, UsageError
from phantom_edge.foundation.typed import WrongJson, from_json, to_json
from phantom_edge.models.draft import DraftLayer, drafted
from phantom_edge.models.draft_shape import DraftShape
from phantom_edge.models.tensor_names import EMBEDDING, HEAD
from phantom_edge.profile.measure.lines import Gathering
from phantom_edge.profile.measure.stages import Measuring, Wish
from phantom_edge.profile.report.tables import drafts
from phantom_edge.profile.result import Answered
from phantom_edge.quantize.quantize import quantize_checkpoint
from phantom_edge.quantize.recipe import read_recipe
from phantom_edge.runtime.drafting import AFTER, LEAST, PAUSE, Decoding, Drafted, Pace
from phantom_edge.runtime.engine import DraftingEngine, Floats, Ints
from phantom_edge.runtime.sampling import Sampling
from phantom_edge.runtime.session import Answer, Session

ort = pytest.importorskip("onnxruntime")

STEPS = 3


@pytest.fixture(scope="module")
def drafting(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small checkpoint with a draft layer of random weights, for every other token."""
    folder = tmp_path_factory.mktemp("drafts") / "checkpoint"
    shutil.copytree(checkpoint, folder)
    text = Source.open(folder).config.text
    torch.manual_seed(7)
    words = torch.arange(0, text.vocab_size, 2)
    shape = DraftShape(text.hidden_size, 2 * text.hidden_size, len(words), STEPS, text.rms_norm_eps)
    write_draft(folder, Draft(shape, DraftLayer(shape), words))
    return folder


@pytest.fixture(scope="module")
def bundle(drafting: Path) -> Bundle:
    """Its bundle."""
    return export_onnx(drafting, drafting.parent / "bundle", max_context=128)


class Oracle:
    """An engine whose drafts are ``known`` tokens; which of them are ``wrong`` is said by a sequence that repeats."""

    def __init__(self, engine: DraftingEngine, known: Sequence[int], wrong: Sequence[bool]) -> None:
        self.engine, self.known, self.wrong, self.calls = engine, known, wrong, 0
        self.encode_images, self.embed, self.forward = engine.encode_images, engine.embed, engine.forward
        self.forward_hidden = engine.forward_hidden

    def draft(self, hidden: Floats, token: int) -> Ints:
        """The tokens that follow the last place of ``token``."""
        places = [place for place, one in enumerate(self.known) if one == token]
        start = places[min(self.calls, len(places) - 1)] + 1 if places else 0
        found = [*self.known[start : start + STEPS], 0, 0, 0][:STEPS]
        self.calls += 1
        wrong = [self.wrong[(self.calls + place) % len(self.wrong)] for place in range(STEPS)]
        return np.array([token + 1 if is_wrong else token for token, is_wrong in zip(found, wrong, strict=True)])


class Chain:
    """A model of six words in numpy: the next word's logits depend on the last two, its cache on its calls alone."""

    words = 6

    def __init__(self, drafts: Sequence[int], seed: int) -> None:
        self.table = np.random.default_rng(seed).normal(size=(self.words, self.words, self.words)).astype(np.float32)
        self.cache, self.drafts = np.zeros(256, np.int64), drafts

    def embed(self, ids: Ints) -> Floats:
        return ids[:, None].astype(np.float32)

    def encode_images(self, pixel_values: Floats) -> Floats:
        raise NotImplementedError

    def forward(self, embeds: Floats, start: int, keep: Ints) -> Floats:
        self.cache[start : start + len(embeds)] = embeds[:, 0]
        return np.stack([self.table[self.cache[place - 1], self.cache[place]] for place in start + keep])

    def forward_hidden(self, embeds: Floats, start: int, keep: Ints) -> tuple[Floats, Floats]:
        return self.forward(embeds, start, keep), np.zeros((len(keep), 2), np.float32)

    def draft(self, hidden: Floats, token: int) -> Ints:
        return np.array([(token + draft) % self.words for draft in self.drafts])


def spoken(chain: Chain, sampling: Sampling, tokens: int, *, is_drafting: bool) -> tuple[list[int], Drafted]:
    """Tokens that follow two zeros."""
    choose, figures = sampling.chooser(), Drafted()
    decoding, said = Decoding(chain, figures, is_drafting=is_drafting), [0, 0]
    chain.forward(chain.embed(np.array([0])), 0, np.array([0]))
    for place in range(1, 1 + tokens):
        logits = decoding.after(said[-1], place, drafts=tokens - place)
        said.append(choose(said, logits))
    return said, figures


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=4), st.integers(0, 50), st.integers(0, 3))
def test_any_drafts_leave_an_answer_as_it_is(drafts: list[int], seed: int, heat: int) -> None:
    """Greedy or sampled, with the same seed: token for token."""
    sampling = Sampling(temperature=heat / 2, seed=seed)
    plain, alone = spoken(Chain(drafts, seed), sampling, 40, is_drafting=False)
    fast, figures = spoken(Chain(drafts, seed), sampling, 40, is_drafting=True)
    assert fast == plain
    assert alone == Drafted(40, 0, 0) and figures.steps + figures.accepted == 40


def test_sampled_pairs_have_the_models_own_distribution() -> None:
    """4,000 pairs under drafts: shares within four standard deviations of the product of the model's probabilities."""
    chain, runs = Chain([1, 2], 3), 4000
    found: Counter[tuple[int, int]] = Counter()
    for seed in range(runs):
        said, _ = spoken(chain, Sampling(temperature=1.0, seed=seed), 4, is_drafting=True)
        found[said[4], said[5]] += 1

    def shares(first: int, second: int) -> np.ndarray:
        powers = np.exp(chain.table[first, second].astype(np.float64))
        return powers / powers.sum()

    wanted: Counter[tuple[int, int]] = Counter()
    for one in range(6):
        for two in range(6):
            before = shares(0, 0)[one] * shares(0, one)[two]
            for three in range(6):
                for four in range(6):
                    wanted[three, four] += before * shares(one, two)[three] * shares(two, three)[four]
    assert sum(wanted.values()) == pytest.approx(1)
    for pair, share in wanted.items():
        assert abs(found[pair] / runs - share) < 4 * (share * (1 - share) / runs) ** 0.5 + 1e-9, pair


def test_the_pace_pauses_where_too_few_are_accepted() -> None:
    pace = Pace()
    while pace.wants():
        pace.add(0)
    assert pace.expected < LEAST
    assert [pace.wants() for _ in range(PAUSE - 1)] == [False] * (PAUSE - 1) and pace.wants()
    pace.add(0)
    assert not pace.wants()
    pace = Pace()
    for _ in range(50):
        assert pace.wants()
        pace.add(2)


def test_a_shape_lists_the_layers_weights() -> None:
    shape = DraftShape(8, 24, 5, 2, 1e-6)
    assert shape.tensors() == {name: tuple(one.shape) for name, one in DraftLayer(shape).state_dict().items()}


def test_the_graph_drafts_as_the_layer(drafting: Path, bundle: Bundle) -> None:
    source = Source.open(drafting)
    draft = source.draft
    assert draft is not None
    engine = session_of(bundle).engine
    assert isinstance(engine, DraftingEngine)
    table, head = (source.read(name).float() for name in (EMBEDDING, HEAD))
    torch.manual_seed(1)
    hidden, ids = torch.randn(20, draft.shape.hidden), torch.arange(3, 23)
    rows = drafted(draft.layer, hidden, table[ids], table[draft.words], head[draft.words], STEPS)
    found = [engine.draft(one.numpy(), int(token)) for one, token in zip(hidden, ids, strict=True)]
    assert np.array_equal(np.stack(found), draft.words[rows].numpy())
    assert len(np.unique(found)) > 5


def test_beside_a_quantized_decoder_drafts_have_8_bits(drafting: Path, tmp_path: Path) -> None:
    """And propose nearly the same; the checkpoint that is quantized carries its draft layer along."""
    quantize_checkpoint(drafting, read_recipe("int8"), tmp_path / "int8", name="int8")
    bundle = export_onnx(tmp_path / "int8", tmp_path / "bundle", max_context=128, prove=True)
    sizes = bundle.manifest.parts["draft"].weight_bytes
    assert sizes["int8"] > sizes["float32"] / 2
    source, engine = Source.open(tmp_path / "int8"), session_of(bundle).engine
    draft = source.draft
    assert draft is not None and isinstance(engine, DraftingEngine)
    table, head = (source.read(name).float() for name in (EMBEDDING, HEAD))
    torch.manual_seed(2)
    hidden, ids = torch.randn(40, draft.shape.hidden), torch.arange(40)
    rows = drafted(draft.layer, hidden, table[ids], table[draft.words], head[draft.words], 1)
    found = np.array([engine.draft(one.numpy(), int(token))[0] for one, token in zip(hidden, ids, strict=True)])
    assert np.mean(found == draft.words[rows[:, 0]].numpy()) > 0.8
    plain = answer(session := session_of(bundle))
    session.is_drafting = False
    assert answer(session).ids == plain.ids and plain.drafted.proposed > 0


def test_a_checkpoint_without_a_draft_gives_the_same_graphs(checkpoint: Path, bundle: Bundle, tmp_path: Path) -> None:
    """And one with it the same weights and one output more."""
    plain = export_onnx(checkpoint, tmp_path / "bundle", max_context=128).manifest
    own = bundle.manifest
    assert plain.parts.keys() | {"draft"} == own.parts.keys() and "draft" not in plain.parts
    for name in ("vision.onnx", "vision.data", "decoder.data", "first_token.data"):
        assert plain.files[name].sha256 == own.files[name].sha256
    before, after = plain.parts["decoder"].outputs, own.parts["decoder"].outputs
    assert [port.name for port in after if port not in before] == ["hidden"]
    assert plain.parts["decoder"].operators == own.parts["decoder"].operators


def answer(session: Session, most: int = 40, **sampling: float) -> Answer:
    found = Answer()
    for _ in session.ask("What is it?", [noise((112, 112), 80)], Sampling(most, **sampling), found):
        pass
    return found


@pytest.mark.parametrize("wrong", [[False], [True], [False, False, True], [False, True, True, False, True]])
@pytest.mark.parametrize("heat", [0.0, 0.7])
def test_answers_are_the_same_with_any_drafts(bundle: Bundle, wrong: list[bool], heat: float) -> None:
    """Of a real decoder, whose cache holds rejected rows in between; a question afterwards finds it in order."""
    session = session_of(bundle)
    engine = session.engine
    assert session.is_drafting and isinstance(engine, DraftingEngine)
    session.is_drafting = False
    plain = answer(session, temperature=heat, seed=5)
    assert plain.drafted == Drafted(len(plain.ids) - 1, 0, 0)
    session.is_drafting = True
    session.engine = Oracle(engine, plain.ids, wrong)
    fast = answer(session, temperature=heat, seed=5)
    assert fast.ids == plain.ids and fast.text == plain.text and fast.stopped_by == plain.stopped_by
    steps = fast.drafted
    assert steps.steps + steps.accepted == len(plain.ids) - 1
    assert steps.proposed > 0 and (wrong != [False] or steps.accepted > steps.proposed / 2)
    session.engine = engine
    again = answer(session, temperature=heat, seed=5)
    assert again.ids == plain.ids and again.reused_tokens > 0


@pytest.mark.parametrize("most", [1, AFTER, AFTER + 1, AFTER + 2, 500])
def test_drafts_keep_to_length_and_context(bundle: Bundle, most: int) -> None:
    session = session_of(bundle)
    engine = session.engine
    assert isinstance(engine, DraftingEngine)
    session.is_drafting = False
    plain = answer(session, most)
    session.is_drafting, session.engine = True, Oracle(engine, plain.ids, [False])
    fast = answer(session, most)
    assert fast.ids == plain.ids and fast.stopped_by == plain.stopped_by
    assert (fast.drafted.proposed > 0) == (len(plain.ids) > AFTER + 1)


def test_the_proof_holds_with_a_draft(drafting: Path, bundle: Bundle) -> None:
    proof = verify(bundle, Source.open(drafting))
    own = [check for check in proof.checks if check.stage == "draft"]
    assert (
        proof.passed and len(own) == 10 and all(check.bound is not None for check in own if check.measure != ABSOLUTE)
    )


def with_field(**fields: object) -> Callable[[Path], object]:
    """Damage: fields of the shape changed."""
    return lambda folder: (folder / SHAPE).write_text(json.dumps(json.loads((folder / SHAPE).read_text()) | fields))


def with_tensors(change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> Callable[[Path], object]:
    """Damage: other tensors."""
    return lambda folder: save_file(change(load_file(folder / WEIGHTS)), folder / WEIGHTS)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "cut": lambda folder: (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-100]),
    "empty": lambda folder: (folder / WEIGHTS).write_bytes(b""),
    "no weights": lambda folder: (folder / WEIGHTS).unlink(),
    "no shape": lambda folder: (folder / SHAPE).unlink(),
    "no JSON": lambda folder: (folder / SHAPE).write_text("{"),
    "a field more": with_field(code="import os"),
    "too many words": with_field(words=10**6),
    "another model": with_field(hidden=64),
    "another width": with_field(inner=64),
    "no number": with_tensors(lambda found: found | {"join.weight": found["join.weight"] * float("nan")}),
    "words beyond": with_tensors(lambda found: found | {WORDS: found[WORDS] + 1000}),
    "words twice": with_tensors(lambda found: found | {WORDS: torch.zeros_like(found[WORDS])}),
    "floats for words": with_tensors(lambda found: found | {WORDS: found[WORDS].float()}),
    "a tensor less": with_tensors(lambda found: {name: one for name, one in found.items() if name != "down.weight"}),
    "a pickle": lambda folder: torch.save({}, folder / WEIGHTS),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_draft_is_refused(kind: str, drafting: Path, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    for name in (SHAPE, WEIGHTS):
        shutil.copyfile(drafting / name, folder / name)
    text = Source.open(drafting).config.text
    assert read_draft(folder, text) is not None
    DAMAGES[kind](folder)
    with pytest.raises(EdgeError, match=r"draft\.(json|safetensors)") as refused:
        read_draft(folder, text)
    assert "train draft" in refused.value.remedy and "\n" not in refused.value.problem


def test_a_fingerprint_counts_the_draft(checkpoint: Path, drafting: Path, tmp_path: Path) -> None:
    """So a changed draft begins an export anew."""
    folder = tmp_path / "checkpoint"
    shutil.copytree(drafting, folder)
    shape = json.loads((folder / SHAPE).read_text())
    (folder / SHAPE).write_text(json.dumps(shape | {"steps": 2}))
    prints = {Source.open(one).fingerprint() for one in (checkpoint, drafting, folder)}
    assert len(prints) == 3


def test_a_forged_draft_answers_without_a_traceback(bundle: Bundle, tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(bundle.path, folder)
    model = onnx.load(folder / "draft.onnx")
    (words,) = [one for one in model.graph.initializer if one.name == "draft.words"]
    words.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(words) + 10_000, words.name))
    onnx.save(model, folder / "draft.onnx")
    resealed(folder)
    with pytest.raises(EdgeError, match="proposes tokens that the model does not have"):
        answer(session_of(Bundle.open(folder)))


def test_a_manifest_whose_decoder_gives_no_hidden_state_is_refused(bundle: Bundle) -> None:
    parts = bundle.manifest.parts
    decoder = parts["decoder"]
    short = tuple(port for port in decoder.outputs if port.name != "hidden")
    with pytest.raises(ValueError, match="draft"):
        replace(bundle.manifest, parts={**parts, "decoder": replace(decoder, outputs=short)})


def test_the_command(bundle: Bundle, checkpoint: Path, tmp_path: Path) -> None:
    words = ["run", "--max-new-tokens", 12, "hi", "--model"]
    ran = [edge_inside(*words, bundle.path, flag, "--json") for flag in ("--draft", "--no-draft")]
    with_draft, without = (json.loads(one.stdout) for one in ran)
    assert with_draft["text"] == without["text"] and "drafted" not in without
    assert with_draft["drafted"]["proposed"] > 0
    assert "tokens a step" in edge_inside(*words, bundle.path).stderr
    refused = edge_inside(*words, checkpoint, "--draft")
    assert refused.returncode == 2 and "--draft is for bundles" in refused.stderr
    plain = export_onnx(checkpoint, tmp_path / "plain", max_context=128)
    refused = edge_inside(*words, plain.path, "--draft")
    assert refused.returncode == 2 and "has no draft layer" in refused.stderr and "train draft" in refused.stderr


def test_a_profile_counts_tokens_a_step(bundle: Bundle) -> None:
    gathering = Gathering()
    Measuring(bundle, Wish(repeats=1, tokens=10, threads=1, depths=(16,), operators=False), gathering).measure()
    found = [one.drafted for one in gathering.found["answer"]]
    assert len(found) == 2 and all(one.proposed > 0 for one in found)
    first = gathering.found["answer"][0]
    assert from_json(Answered, to_json(first)) == first
    run = make_run()
    assert not drafts(run).rows
    (row,) = drafts(replace(run, answers=(replace(first, drafted=Drafted(10, 20, 15)),) * 2)).rows
    assert row == ("20", "2.50", "40", "75.0")
    with pytest.raises(WrongJson, match="contradict"):
        from_json(Answered, to_json(first) | {"drafted": {"steps": 3, "proposed": 1, "accepted": 2}})


DEVICE = """
[devices.mine]
label = "Mine"
kind = "linux"
chip = "any"
targets = ["onnx"]
matches = ["mine"]
ram = { value = 8, unit = "GB", source = "assumed" }
bandwidth = { value = 30, unit = "GB/s", source = "assumed" }
missing = []
[devices.mine.peaks.cpu]
fp32 = { value = 0.1, unit = "TOPS", source = "assumed" }
int8 = { value = 0.4, unit = "TOPS", source = "assumed" }
"""


def test_a_plan_predicts_long_answers(tmp_path: Path) -> None:
    """Never more than as many times faster as there are tokens in a step, since a step is no shorter for its drafts."""
    (tmp_path / "mine.toml").write_text(DEVICE)
    plan = partial(plan_bundles, "0.5b", "mine", tiles=1, context=512, devices=tmp_path / "mine.toml")
    found, plain = plan(tokens_per_step=2.5).front, plan().front
    assert found and [one.choice for one in found] == [one.choice for one in plain]
    for one, without in zip(found, plain, strict=True):
        speed, drafted = one.tokens_per_second, one.drafted
        assert without.drafted is None and speed is not None and drafted is not None
        assert 0 < drafted.low < 2.5 * speed.low and drafted.middle < 2.5 * speed.middle < 2.5 * speed.high
        assert drafted.low < drafted.middle < drafted.high < 2.5 * speed.high
    ran = edge_inside(
        "plan", "0.5b", "--device", "mine", "--device-file", tmp_path / "mine.toml", "--tokens-per-step", 2
    )
    assert "drafted, tokens/s" in ran.stdout, ran.stderr
    with pytest.raises(UsageError, match="--tokens-per-step is"):
        plan(tokens_per_step=0.5)
