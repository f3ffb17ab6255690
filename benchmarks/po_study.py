"""The paper's Table 4 and the choice of eta, on a small sibling of phantom-nano trained from nothing.

    python -m benchmarks.po_study --jobs 2 --out benchmarks/results/po-study.json

All models share one vision tower, which has learned to look and to name. Of each seed and architecture one base learns
to read (SFT); from it start three short runs of the paper's two steps, which differ in their objectives alone: {SFT
only, PO in step 1, PO in both}. Models without the phantom dimension get the same number of parameters in wider MLPs.
For eta, bases are trained at other values. Everything sees the same scenes in the same order. ``--jobs`` are processes
of one thread each, ``--seeds`` of every cell of the table, ``--eta-seeds`` of every other eta.
"""

import json
import sys
from collections import Counter
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_model, save_model
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers.utils.logging import set_verbosity_error

from benchmarks.branch import BranchSize, head_maps, switch_off
from benchmarks.harness import begin
from phantom_edge.checkpoint.pretrained import PhantomForConditionalGeneration
from phantom_edge.foundation.files import whole_file
from phantom_edge.models.attention import PhantomAttention, eager_attention
from phantom_edge.models.rope import rotate
from phantom_edge.models.sizes import SIZES, Size, VisionSize
from phantom_edge.train.collate import Collator
from phantom_edge.train.nano.model import new_model, new_processor
from phantom_edge.train.nano.recipe import MetricsCallback, run_stage, train_nano
from phantom_edge.train.nano.scenes import SCENE_KINDS, SceneGroups, SceneRange
from phantom_edge.train.nano.stages import SEED_STRIDE, Stage
from phantom_edge.train.runs import RunFolder
from phantom_edge.train.trainer import read_targets

PHANTOM = replace(
    SIZES["nano"],
    name="sibling",
    hidden=128,
    layers=4,
    heads=4,
    intermediate=320,
    vision=VisionSize(hidden=128, layers=3, heads=2, intermediate=512, image=224, patch=16),
)
PLAIN = replace(PHANTOM, name="sibling without phantom", intermediate=PHANTOM.intermediate + 32)
"""A layer's three maps and two gates (12,354 numbers) go into 32 more MLP channels (12,288)."""

LOOK = Stage("look", 1500, 32, 2e-3, mixes=("crowded", "plain"))
NAME = Stage("name", 400, 32, 1e-3, mixes=("crowded", "plain"))
READ = Stage("read", 360, 32, 1.5e-3, rounds=2, frozen=("vision_tower", "projector"))
FIRST = Stage("step 1", 40, 32, 5e-4, step=1, warmup=5)
SECOND = Stage("step 2", 60, 32, 5e-4, step=2, warmup=10, final_share=0.02)

OBJECTIVES = {"SFT only": ("sft", "sft"), "PO in step 1": ("po", "sft"), "PO in both": ("po", "po")}
ETAS = (1e-4, 1e-2, 0.1, 1.0, "learned")
LEARNED_FROM = 0.1
"""The initial value of a learned eta, one for each map of each layer."""

ETA = 1.0
TEST_SCENES = 600
OFF_SCENES = 192
"""Number of those scenes that are asked with the branch off, too."""


class PlainAttention(nn.Module):
    """The same attention without the phantom dimension, over the weights of ``phantom``."""

    def __init__(self, phantom: PhantomAttention) -> None:
        super().__init__()
        self.head_dim, self.scaling = phantom.head_dim, phantom.scaling
        self.num_key_value_groups, self.is_causal = phantom.num_key_value_groups, True
        self.q_proj, self.k_proj = phantom.q_proj, phantom.k_proj
        self.v_proj, self.o_proj = phantom.v_proj, phantom.o_proj

    def forward(
        self,
        hidden_states: Tensor,
        rope: tuple[Tensor, Tensor],
        attention_mask: Tensor | None,
        past_key_values: None = None,
        sentinel_index: Tensor | None = None,
        **kwargs: Any,
    ) -> tuple[Tensor, None]:
        """As PhantomAttention, without a cache."""
        assert past_key_values is None
        heads = (*hidden_states.shape[:2], -1, self.head_dim)
        query = rotate(self.q_proj(hidden_states).view(heads).transpose(1, 2), *rope)
        key = rotate(self.k_proj(hidden_states).view(heads).transpose(1, 2), *rope)
        value = self.v_proj(hidden_states).view(heads).transpose(1, 2)
        mixed, _ = eager_attention(
            cast(PhantomAttention, self), query, key, value, attention_mask, scaling=self.scaling
        )
        return self.o_proj(mixed.reshape(*hidden_states.shape[:2], -1)), None


@dataclass(frozen=True)
class Base:
    """A model that has learned to read; ``eta`` None is one without the phantom dimension."""

    eta: float | str | None
    seed: int

    @property
    def name(self) -> str:
        """The name of its folder."""
        return f"{'plain' if self.eta is None else f'eta-{self.eta}'}-seed-{self.seed}"

    @property
    def size(self) -> Size:
        """Its numbers."""
        return PLAIN if self.eta is None else PHANTOM

    def new(self) -> PhantomForConditionalGeneration:
        """Untrained, the same for the same seed."""
        fixed = self.eta if isinstance(self.eta, float) else LEARNED_FROM
        model = new_model(self.size, self.seed, fixed)
        for layer in model.model.language_model.layers:
            if self.eta is None:
                layer.self_attn = PlainAttention(layer.self_attn)
            elif self.eta == "learned":
                for head_map in head_maps(layer):
                    del head_map.eta
                    head_map.register_parameter("eta", nn.Parameter(torch.tensor(fixed)))
        return model


@dataclass(frozen=True)
class Job:
    """A base, or with ``objectives`` the two steps from it."""

    base: Base
    objectives: str | None = None

    @property
    def name(self) -> str:
        """The name of its folder and its result."""
        return self.base.name if self.objectives is None else f"{self.base.name}-{self.objectives.replace(' ', '-')}"


def stages_of(job: Job) -> list[tuple[Stage, int]]:
    """The stages of a job, each with its first scene; every base of a seed reads the same scenes."""
    start = (10 + 3 * job.base.seed) * SEED_STRIDE
    if job.objectives is None:
        return [(READ, start)]
    first, second = OBJECTIVES[job.objectives]
    return [
        (replace(FIRST, objective=first), start + SEED_STRIDE),
        (replace(SECOND, objective=second), start + 2 * SEED_STRIDE),
    ]


def run_job(job: Job, folder: Path) -> None:
    """Train and measure, unless its result is there."""
    torch.set_num_threads(1)
    set_verbosity_error()
    own = folder / job.name
    if (own / "result.json").exists():
        return
    processor = new_processor(PHANTOM)
    model = job.base.new()
    if job.objectives is None:
        looked = PhantomForConditionalGeneration.from_pretrained(folder / "name" / "model", dtype=torch.float32)
        for part in ("vision_tower", "projector"):
            getattr(model.model, part).load_state_dict(getattr(looked.model, part).state_dict())
        model.get_input_embeddings().load_state_dict(looked.get_input_embeddings().state_dict())  # its words
    else:
        load_model(model, folder / job.base.name / "model.safetensors")
    for stage, first_scene in stages_of(job):
        callback = MetricsCallback(stage.name, own)
        run_stage(
            stage,
            model,
            processor,
            own / stage.name,
            first_scene=first_scene,
            seed=job.base.seed,
            workers=0,
            evaluate=False,
            callbacks=(callback,),
        )
    save_model(model, str(own / "model.safetensors"))
    trained = job.base.new()  # the one that was trained still multiplies in bfloat16
    load_model(trained, own / "model.safetensors")
    result = measure(trained, Collator(processor, kinds=SCENE_KINDS)) | {
        "eta": job.base.eta,
        "seed": job.base.seed,
        "objectives": job.objectives,
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "losses": [
            [line["stage"], line["step"], line["sft_loss"]] for line in RunFolder(own).lines() if "loss" in line
        ],
    }
    with whole_file(own / "result.json") as file:
        file.write(json.dumps(result) + "\n")


@torch.no_grad()
def measure(model: PhantomForConditionalGeneration, collator: Collator) -> dict[str, Any]:
    """Right answers on test scenes, by picture and by kind; and how large the phantom branch is."""
    model.eval()
    branch = BranchSize(head_maps(model, "phantom_value"))
    asked: Counter[str] = Counter()
    right: Counter[str] = Counter()
    pictures: list[tuple[int, int]] = []
    scenes = SceneGroups(SceneRange("test", 0, TEST_SCENES), with_rejected=True)
    preferred = compared = 0
    margin = 0.0
    for groups in DataLoader(scenes, batch_size=32, collate_fn=list):
        batch = collator(groups)
        log_probs, hits = read_targets(model, batch)
        means = torch.zeros(len(hits)).index_add(0, batch["target_answer"], log_probs)
        means /= batch["target_answer"].bincount()
        gaps = (means[batch["chosen"]] - means[batch["rejected"]]).tolist()
        margin += sum(gaps)
        preferred += sum(gap > 0 for gap in gaps)
        compared += len(gaps)
        answers = iter(hits[batch["chosen"]].tolist())
        for group in groups:
            verdicts = [(pair.kind, next(answers)) for pair in group.pairs]
            for kind, verdict in verdicts:
                asked[kind] += 1
                right[kind] += verdict
            pictures.append((sum(verdict for _, verdict in verdicts), len(verdicts)))
    branch.stop()
    etas = [[float(head_map.eta) for head_map in maps] for maps in map(head_maps, model.model.language_model.layers)]
    return {
        "pictures": pictures,
        "pictures_branch_off": branch_off(model, collator),
        "kinds": {kind: [right[kind], asked[kind]] for kind in SCENE_KINDS if asked[kind]},
        "margin": margin / compared,
        "preference_accuracy": preferred / compared,
        "branch": branch.shares(),
        "etas": etas,
    }


def branch_off(model: PhantomForConditionalGeneration, collator: Collator) -> list[tuple[int, int]]:
    """Right and asked, by picture, of the first test scenes after the trained branch has been switched off."""
    switch_off(head_maps(model))
    pictures: list[tuple[int, int]] = []
    for groups in DataLoader(SceneGroups(SceneRange("test", 0, OFF_SCENES)), batch_size=32, collate_fn=list):
        batch = collator(groups)
        answers = iter(read_targets(model, batch)[1][batch["chosen"]].tolist())
        pictures += [(sum(next(answers) for _ in group.pairs), len(group.pairs)) for group in groups]
    return pictures


def look(folder: Path) -> None:
    """Teach the shared vision tower and projector to see facts, and to name them in the words of seed 0."""
    torch.set_num_threads(2)
    set_verbosity_error()
    train_nano(PHANTOM, folder, stages=(LOOK, NAME), callback=lambda stage: MetricsCallback(stage, folder))


def parts_of(seeds: int, eta_seeds: int) -> tuple[list[Job], ...]:
    """The bases of the table, what starts from them, and the bases of the other etas; each needs those before it."""
    both = [Base(eta, seed) for seed in range(seeds) for eta in (ETA, None)]
    others = [Base(eta, seed) for seed in range(eta_seeds) for eta in ETAS if eta != ETA]
    steps = [Job(base, name) for base in both for name in OBJECTIVES]
    return [Job(base) for base in both], steps, [Job(base) for base in others]


def main() -> None:
    """Run what is missing, then gather the results."""
    bench = begin("po-study", __doc__, jobs=2, seeds=3, eta_seeds=3)
    context, folder = get_context("spawn"), bench.scratch
    alone = context.Process(target=look, args=(folder,))
    alone.start()
    alone.join()
    if alone.exitcode:
        sys.exit("looking failed")
    parts = parts_of(bench.asked.seeds, bench.asked.eta_seeds)
    with context.Pool(bench.asked.jobs, maxtasksperchild=1) as pool:
        for part in parts:
            pool.starmap(run_job, [(job, folder) for job in part], chunksize=1)
    results = [json.loads((folder / job.name / "result.json").read_text()) for part in parts for job in part]
    bench.write({"stages": [vars(stage) for stage in (LOOK, NAME, READ, FIRST, SECOND)], "runs": results})


if __name__ == "__main__":
    main()
