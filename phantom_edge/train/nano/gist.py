"""A meaning for the CLS token: what a picture shows, read off the CLS token of its thumbnail.

Answers never use the CLS token, which is dropped behind the vision tower. So beside the answers' loss a linear head,
discarded afterwards, reads the items of the whole picture off it: methods that score image tokens by CLS attention, or
pictures by CLS features, then have something to go by.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from phantom_edge.checkpoint.pretrained import PhantomForConditionalGeneration
from phantom_edge.data.scenes import graph
from phantom_edge.data.scenes.graph import Scene
from phantom_edge.models.config import PhantomConfig
from phantom_edge.train.collate import Batch, Collator, Group
from phantom_edge.train.nano.facts import facts_of
from phantom_edge.train.trainer import PhantomTrainer

OBJECTS = ("solid", "price", "sign", "card", "arrow", "dial", "bars")
"""Kinds of object that a picture can show."""

GIST = (
    *OBJECTS,
    *(f"colour {colour}" for colour in graph.COLOURS),
    *(f"shape {shape}" for shape in graph.SHAPES),
)
"""Facts about a whole picture."""


def gist_of(scene: Scene | None) -> Tensor:
    """Facts (len(GIST),) of a scene, 0 or 1, without those of small things; none where a picture shows no scene."""
    items = () if scene is None else [item for item in scene.items if not getattr(item, "small", False)]
    held = {fact for item in items for fact in facts_of(item)}
    return torch.tensor([float(fact in held) for fact in GIST])


@dataclass(frozen=True)
class SceneGroup(Group):
    """Pairs about pictures, and the gist (len(GIST),) of each picture."""

    gists: tuple[Tensor, ...] = ()


class GistBatch(Batch):
    """A batch with the gist (pictures, len(GIST)) of each picture."""

    gist: Tensor


class GistCollator(Collator):
    """Makes batches of :class:`SceneGroup` s."""

    def __call__(self, groups: Sequence[Group]) -> GistBatch:
        gists = [gist for group in groups if isinstance(group, SceneGroup) for gist in group.gists]
        return GistBatch(**super().__call__(groups), gist=torch.stack(gists) if gists else torch.zeros(0, len(GIST)))


class GistReader(nn.Module):
    """A model, with a linear head that reads the gist of pictures off the CLS token of their thumbnails."""

    _keys_to_ignore_on_save: list[str] | None = None
    """Weights that a checkpoint of Trainer lacks; it ties them when it resumes."""

    def __init__(self, model: PhantomForConditionalGeneration) -> None:
        super().__init__()
        self.model = model
        width = model.config.vision.hidden_size
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, len(GIST))
        self.seen: list[Tensor] = []
        model.model.vision_tower.register_forward_hook(lambda _module, _inputs, found: self.seen.append(found[:, 0]))
        if model.config.tie_word_embeddings:  # Trainer saves no tensor twice
            self.register_state_dict_post_hook(_drop_tied_head)  # type: ignore[no-untyped-call]
            self._keys_to_ignore_on_save = ["model.lm_head.weight"]

    @property
    def config(self) -> PhantomConfig:
        """The model's own."""
        config: PhantomConfig = self.model.config
        return config

    def tie_weights(self) -> None:
        """Share the embedding with the head again."""
        self.model.tie_weights()

    def forward(self, **inputs: Any) -> Any:
        """The model's own output; its CLS tokens (tiles, hidden) are kept for ``read``."""
        self.seen.clear()
        return self.model(**inputs)

    def read(self, tiles_per_image: Tensor) -> Tensor:
        """Scores (pictures, len(GIST)), positive for a fact that holds, of the pictures of the last forward pass."""
        thumbnails = torch.cat(self.seen)[tiles_per_image.cumsum(0) - 1]  # a picture's last tile shows all of it
        scores: Tensor = self.head(self.norm(thumbnails)).float()
        return scores


def _drop_tied_head(_module: nn.Module, state: dict[str, Any], prefix: str, _about: dict[str, Any]) -> None:
    del state[f"{prefix}model.lm_head.weight"]


class GistTrainer(PhantomTrainer):
    """Trains a :class:`GistReader`: the objective, and ``weight`` times the loss of reading gists."""

    def __init__(self, *args: Any, weight: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.weight = weight
        self.gists: Counter[str] = Counter()

    def compute_loss(
        self,
        model: nn.Module,
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor | tuple[Tensor, dict[str, Tensor]]:
        """See PhantomTrainer."""
        found = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        if isinstance(found, tuple) or "tiles_per_image" not in inputs:
            return found
        assert isinstance(model, GistReader)
        gist: Tensor = inputs["gist"]  # type: ignore[typeddict-item]
        scores = model.read(inputs["tiles_per_image"])
        loss = F.binary_cross_entropy_with_logits(scores, gist)
        right = right_kinds(scores.detach(), gist)
        self.gists.update({"loss": loss.item(), "steps": 1, "right": right.sum().item(), "pictures": len(right)})
        total: Tensor = found + self.weight * loss / self.args.gradient_accumulation_steps
        return total

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add averages since the last call: loss of gists, share of kinds of object that were right."""
        if "loss" in logs and self.gists:
            logs |= {
                "gist_loss": self.gists["loss"] / self.gists["steps"],
                "gist_right": self.gists["right"] / self.gists["pictures"],
            }
            self.gists.clear()
        super().log(logs, start_time)


def right_kinds(scores: Tensor, gist: Tensor) -> Tensor:
    """Share (pictures,) of the kinds of object that ``scores`` find, there or not, as ``gist`` says."""
    kinds = slice(0, len(OBJECTS))
    return ((scores[:, kinds] > 0) == (gist[:, kinds] > 0)).float().mean(-1)
