"""Training of a draft layer: the model stays as it is, the layer learns, and what cannot be trained is refused."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from command_line import edge_inside
from noise import noise
from safetensors.torch import load_file

from phantom_edge.checkpoint.draft import SHAPE, WEIGHTS
from phantom_edge.checkpoint.source import Source
from phantom_edge.foundation.errors import EdgeError, UsageError
from phantom_edge.foundation.progress import no_progress
from phantom_edge.models.draft_shape import STEPS
from phantom_edge.train.draft.train import Settings, Trained, train_draft

SMALL = Settings(updates=20, batch=32, held_out=0.25, rows=4, words=100)
ANSWERS = ("a red cross and a blue circle", "a blue circle and a red cross", "two red crosses", "one blue circle, far")


@pytest.fixture(scope="module")
def triples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Long and short answers about pictures of noise."""
    desk = tmp_path_factory.mktemp("triples")
    lines = []
    for number in range(4):
        noise((112, 112), number).save(desk / f"{number}.png")
        about = {"image": f"{number}.png", "rejected": "no"}
        lines += [{**about, "question": "What is it?", "chosen": answer} for answer in ANSWERS[number:] + ANSWERS[:1]]
        lines += [{**about, "question": "Is it?", "chosen": "y"}]
    (desk / "triples.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return desk / "triples.jsonl"


def train(checkpoint: Path, triples: Path, out: Path, settings: Settings = SMALL, *, force: bool = False) -> Trained:
    return train_draft(str(checkpoint), triples, out, settings, no_progress, force=force)


@pytest.fixture(scope="module")
def trained(checkpoint: Path, triples: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Trained]:
    out = tmp_path_factory.mktemp("trained") / "out"
    return out, train(checkpoint, triples, out)


def test_a_checkpoint_gets_a_layer_and_stays_as_it_is(trained: tuple[Path, Trained], checkpoint: Path) -> None:
    out, found = trained
    for path in checkpoint.iterdir():
        if path.is_file() and not path.name.startswith("."):
            assert (out / path.name).read_bytes() == path.read_bytes(), path.name
    draft = Source.open(out).draft
    assert draft is not None and draft.shape.steps == STEPS and len(draft.words) == found.words <= SMALL.words
    assert json.loads((out / SHAPE).read_text())["words"] == found.words
    assert 0 < found.covered <= 1 and 1 <= found.tokens_a_step <= 1 + STEPS and found.answers < 20


def test_it_learns_and_a_seed_gives_the_same_layer(
    trained: tuple[Path, Trained], checkpoint: Path, triples: Path, tmp_path: Path
) -> None:
    again = train(checkpoint, triples, tmp_path / "again")
    assert again == trained[1]
    assert (tmp_path / "again" / WEIGHTS).read_bytes() == (trained[0] / WEIGHTS).read_bytes()
    longer = train(trained[0], triples, tmp_path / "longer", replace(SMALL, updates=80, seed=1))
    assert longer.loss < again.loss
    one, other = (load_file(path / WEIGHTS) for path in (trained[0], tmp_path / "longer"))
    assert not torch.equal(one["join.weight"], other["join.weight"])


def test_what_cannot_be_trained_is_refused(checkpoint: Path, triples: Path, tmp_path: Path) -> None:
    short = triples.with_name("short.jsonl")
    short.write_text(json.dumps({"image": "0.png", "question": "Is it?", "chosen": "y"}))
    with pytest.raises(EdgeError, match="no answers of more than 4 tokens"):
        train(checkpoint, short, tmp_path / "out")
    single = triples.with_name("single.jsonl")
    single.write_text(json.dumps({"image": "0.png", "question": "What?", "chosen": ANSWERS[0]}))
    with pytest.raises(EdgeError, match="too few long answers"):
        train(checkpoint, single, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes").write_text("mine")
    for force in (False, True):
        with pytest.raises(EdgeError):
            train(checkpoint, triples, tmp_path / "mine", force=force)
    assert (tmp_path / "mine" / "notes").read_text() == "mine"
    with pytest.raises(EdgeError, match=r"holds the checkpoint|exists already"):
        train(checkpoint, triples, checkpoint)


@pytest.mark.parametrize(
    "wrong",
    [{"steps": 0}, {"steps": 9}, {"words": 9000}, {"updates": 1}, {"learning_rate": 0.0}, {"held_out": 0.0}],
    ids=str,
)
def test_impossible_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        replace(SMALL, **wrong)


def test_the_command(checkpoint: Path, triples: Path, tmp_path: Path) -> None:
    words = ["train", "draft", checkpoint, "--data", triples, "--out", tmp_path / "out", "--held-out", "0.25"]
    done = edge_inside(*words, "--updates", 4, "--batch", 8, "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["model"] == str(tmp_path / "out") and document["tokens_a_step"] >= 1
    again = edge_inside(*words, "--updates", 4, "--batch", 8)
    assert again.returncode == 1 and "exists already" in again.stderr
