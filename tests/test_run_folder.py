"""The folder of a training run: damaged metrics, checkpoints that were cut short, a full disk."""

import os
from pathlib import Path

import pytest

from phantom_edge.foundation.errors import EdgeError
from phantom_edge.train.runs import RunFolder, last_checkpoint


def test_a_disk_that_is_full_under_torchs_writer(tmp_path: Path) -> None:
    """Its error has no class; other faults of torch stay what they are."""
    full = "[enforce fail at inline_container.cc:672] . unexpected pos 9152 vs 9044"
    with pytest.raises(EdgeError, match="cannot be written"), RunFolder(tmp_path / "run").held():
        raise RuntimeError(full)
    with pytest.raises(RuntimeError, match="shapes"), RunFolder(tmp_path / "run").held():
        raise RuntimeError("shapes do not fit")


def test_a_checkpoint_that_was_cut_short_is_passed_over(tmp_path: Path) -> None:
    for number, text in ((2, "{}"), (10, '{"global'), (12, None)):
        folder = tmp_path / f"checkpoint-{number}"
        folder.mkdir()
        if text is not None:
            (folder / "trainer_state.json").write_text(text)
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-2"
    assert not (tmp_path / "checkpoint-10").exists() and not (tmp_path / "checkpoint-12").exists()
    assert last_checkpoint(tmp_path / "none") is None
    (tmp_path / "checkpoint-x").mkdir()  # of somebody else
    os.mkfifo(tmp_path / "checkpoint-2" / "pipe")
    (tmp_path / "checkpoint-2" / "pipe").replace(tmp_path / "checkpoint-2" / "trainer_state.json")
    assert last_checkpoint(tmp_path) is None and (tmp_path / "checkpoint-x").exists()


LINE = '{"stage": "step 1", "step": 3, "loss": 1.5}'


@pytest.mark.parametrize(
    "damage", ["{}", "[]", "[" * 100_000, '{"stage": 1, "step": 2}', LINE[:-9], '{"step": 3, "loss"']
)
def test_damaged_metrics_are_left_out(damage: str, tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text(f"{damage}\n{LINE}\n")
    assert [line["loss"] for line in RunFolder(tmp_path).lines()] == [1.5]
    (tmp_path / "metrics.jsonl").unlink()
    os.mkfifo(tmp_path / "metrics.jsonl")
    with pytest.raises(EdgeError, match="no regular file"):
        RunFolder(tmp_path).lines()
