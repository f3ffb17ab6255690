"""Palettes trained together with their weights: differentiable k-means, by coremltools.

In training, a weight is a mixture of its palette's numbers, weighted by their distances, and these are the means of the
weights that use them (DKM, arXiv 2108.12659). So the loss' gradient decides on which side of a border a weight goes,
and moves the palettes. Training starts from GPTQ's result, and distils the float model's log-probabilities for the
right answers, while all other weights are rounded as they will be.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from phantom_edge.checkpoint.loading import matrices
from phantom_edge.checkpoint.quantized.schemes import Scheme
from phantom_edge.checkpoint.quantized.weights import Quantized, palettized
from phantom_edge.checkpoint.source import Source
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.progress import Progress
from phantom_edge.foundation.quiet import need_quietly
from phantom_edge.models.tensor_names import part_of
from phantom_edge.quantize.calibration import KINDS, MAKE, Sample
from phantom_edge.quantize.damage import Judge
from phantom_edge.quantize.layers import Layer, quantize_layers, squares
from phantom_edge.quantize.palettes import entries
from phantom_edge.quantize.rounding import check_range, nearest
from phantom_edge.quantize.solvers import gptq
from phantom_edge.reference import place_of, through

QUESTIONS = 32
"""Samples per step: gradients of a few are mostly noise, and clustering the weights takes longer than the samples."""

RATE = 0.003
"""Initial learning rate, as a share of a weight's RMS rounding error; it decays linearly to 0."""

SOFTNESS = 0.1
"""Temperature of the mixtures, as a share of a weight's mean square rounding error."""


class Mixer(Protocol):
    """coremltools' FakePalettize: computes the mixtures of a weight, and updates ``centroids``, (levels, 1) each."""

    centroids: list[Tensor]

    def __call__(self, weight: Tensor) -> Tensor:
        """The mixtures, of the weight's shape."""

    def create_partitions(self, weight: Tensor) -> None:
        """Fixes which rows share a palette."""


@dataclass(frozen=True)
class Clustered:
    """A layer whose weight is clustered in training."""

    scheme: Scheme
    linear: nn.Linear
    mixer: Mixer

    def hard(self) -> Quantized:
        """Rounds each weight to the nearest number of its float16 palette."""
        weight = self.linear.weight.detach()
        self.mixer(weight)  # palettes of the weights as they are after the last step
        palettes = torch.stack([centres[:, 0] for centres in self.mixer.centroids]).sort(-1).values.half()
        return palettized(self.scheme, entries(weight, self.scheme, palettes), palettes)


def trainable(schemes: Mapping[str, Scheme], shapes: Mapping[str, tuple[int, int]]) -> dict[str, Scheme]:
    """Weights with palettes in decoder and head, except where the last palette has fewer rows: coremltools skips these.

    A tied head is the embedding, and in neither.
    """
    return {
        name: scheme
        for name, scheme in schemes.items()
        if scheme.palette_rows and part_of(name) in ("decoder", "head") and shapes[name][0] % scheme.palette_rows == 0
    }


@torch.no_grad()
def train_palettes(
    source: Source, schemes: Mapping[str, Scheme], samples: Sequence[Sample], steps: int, begin: Progress
) -> Layer:
    """Trains all ``trainable`` weights. The whole model is in memory, and some 220 bytes more for each such weight.

    Raises EdgeError without coremltools, and where training leads to NaN.
    """
    palettization = need_quietly("coremltools.optimize.torch.palettization")
    wanted = trainable(schemes, matrices(source.config))
    before = {name: source.read(name).float() for name in wanted}
    for name, weight in before.items():
        check_range(name, weight)
    start = _start(source, wanted, before, samples, begin)
    judge = Judge(source, samples)
    for name, scheme in schemes.items():
        if name not in wanted:
            parameter = judge.model.get_parameter(name)
            check_range(name, parameter)
            parameter.data = nearest(parameter.data, scheme).dequantize()
    embedded = judge.embed(judge.encode_images())
    layers, optimizer = _prepared(palettization, judge.model, start, before)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
    random, queue, done = torch.Generator().manual_seed(0), list[int](), begin("training", steps)
    for step in range(steps):
        while len(queue) < min(QUESTIONS, len(samples)):
            queue += torch.randperm(len(samples), generator=random).tolist()
        with torch.enable_grad():
            loss = _loss(judge, embedded, queue[:QUESTIONS])
            if not loss.isfinite():
                raise EdgeError(
                    f"training led to NaN in step {step + 1}", f"use --algorithm gptq, or other data; {MAKE}"
                )
            optimizer.zero_grad()
            torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
        del queue[:QUESTIONS]
        done(1)
    found = {name: layer.hard() for name, layer in layers.items()}
    return Layer(found, {}, {name: squares(held, before[name]) for name, held in found.items()})


def _start(
    source: Source,
    schemes: Mapping[str, Scheme],
    before: Mapping[str, Tensor],
    samples: Sequence[Sample],
    begin: Progress,
) -> dict[str, Quantized]:
    """Initial palettes: GPTQ's for the decoder, k-means for a head."""
    found = {name: nearest(before[name], scheme) for name, scheme in schemes.items() if part_of(name) == "head"}
    decoder = {name: scheme for name, scheme in schemes.items() if name not in found}
    if decoder:
        step = begin("calibrating", source.config.text.num_hidden_layers)
        for layer in quantize_layers(source, decoder, gptq, samples, pass_on_errors=True, step=step):
            found |= layer.weights
    return found


def _prepared(
    palettization: ModuleType, model: nn.Module, start: Mapping[str, Quantized], before: Mapping[str, Tensor]
) -> tuple[dict[str, Clustered], torch.optim.Optimizer]:
    """Makes ``model`` compute with mixtures, initially ``start``; its layers by weight name, and their optimizer."""
    configs, errors = {}, {}
    for name, held in start.items():
        errors[name] = max(float((held.dequantize() - before[name]).square().mean().sqrt()), 1e-8)
        configs[name.removesuffix(".weight")] = palettization.ModuleDKMPalettizerConfig(
            n_bits=held.scheme.bits,
            granularity="per_grouped_channel",
            group_size=held.scheme.palette_rows,
            weight_threshold=0,
            kmeans_max_iter=1,
            palett_tau=SOFTNESS * errors[name] ** 2,
            prune_threshold=0.0,
            palett_batch_mode=True,
        )
    config = palettization.DKMPalettizerConfig(module_name_configs=configs)
    palettization.DKMPalettizer(model, config).prepare(inplace=True)
    layers, groups = {}, []
    for name, held in start.items():
        linear = model.get_submodule(name.removesuffix(".weight"))
        assert isinstance(linear, nn.Linear) and held.palettes is not None
        linear.weight.data = held.dequantize()
        linear.weight.requires_grad_(True)
        mixer = cast(Mixer, linear.weight_fake_quant)
        mixer.create_partitions(linear.weight.detach())
        mixer.centroids = [palette[:, None] for palette in held.palettes.float()]
        layers[name] = Clustered(held.scheme, linear, mixer)
        groups.append({"params": [linear.weight], "lr": RATE * errors[name]})
    return layers, torch.optim.AdamW(groups, weight_decay=0.0)


def _loss(judge: Judge, embedded: Sequence[Tensor], picked: Sequence[int]) -> Tensor:
    """Mean divergence in nats from the float model's answers to the ``picked`` samples."""
    rows = pad_sequence([embedded[number][0] for number in picked], batch_first=True)  # attention is causal
    place, states = place_of(judge.config, rows.shape[1]), [rows]
    for layer in judge.model.model.language_model.layers:
        states = through(layer, states, [place])
    asked = [(judge.samples[number].kinds == KINDS.index("answer")).nonzero()[:, 0] - 1 for number in picked]
    hidden = torch.cat([states[0][row, places] for row, places in enumerate(asked)])
    found = judge.model.lm_head(judge.model.model.language_model.norm(hidden)).log_softmax(-1)
    exact = torch.cat([judge.exact[number] for number in picked])
    loss: Tensor = (exact.exp() * (exact - found)).sum(-1).mean()
    return loss
