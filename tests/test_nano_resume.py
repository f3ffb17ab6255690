"""A stage of phantom-nano's training that was killed goes on from its checkpoint to the same weights."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback

from phantom_edge.models.sizes import SIZES
from phantom_edge.train.nano.model import new_model, new_processor
from phantom_edge.train.nano.recipe import run_stage
from phantom_edge.train.nano.stages import NANO_STAGES, Stage

NANO = SIZES["nano"]
STEPS, KILLED = 3, 1
KINDS = ("name", "prefer", "finer", "camera")
"""A stage of every kind: facts and names of scenes, pairs of answers, tiles, pictures with their gist."""


class Killed(Exception):
    """Ends a training from within, as a kill does."""


class Kill(TrainerCallback):
    """Ends a training right after its checkpoint."""

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        control.should_save = state.global_step == KILLED

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        raise Killed


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_a_killed_stage_goes_on(name: str, tmp_path: Path) -> None:
    """Every kind of stage: what it wraps the model in must be saved and read again, tied weights too."""
    found = next(stage for stage in NANO_STAGES if stage.name == name)
    stage = replace(found, steps=STEPS, batch=2, warmup=0, large_every=0)
    processor = new_processor(NANO)

    def trained(folder: Path, *callbacks: TrainerCallback) -> dict[str, torch.Tensor]:
        model = new_model(NANO, 0, 1.0)
        with torch.enable_grad():
            run(stage, model, processor, folder, callbacks)
        return model.state_dict()

    wanted = trained(tmp_path / "whole")
    with pytest.raises(Killed):
        trained(tmp_path / "killed", Kill())
    assert [one.name for one in (tmp_path / "killed").glob("checkpoint-*")] == [f"checkpoint-{KILLED}"]
    for place, weight in trained(tmp_path / "killed").items():
        torch.testing.assert_close(weight, wanted[place], atol=1e-6, rtol=1e-5, msg=place)


def run(stage: Stage, model: Any, processor: Any, folder: Path, callbacks: tuple[TrainerCallback, ...]) -> None:
    run_stage(
        stage,
        model,
        processor,
        folder,
        first_scene=0,
        workers=0,
        bf16=False,
        evaluate=False,
        validation=4,
        callbacks=callbacks,
    )
