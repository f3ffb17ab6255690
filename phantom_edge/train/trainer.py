"""transformers' Trainer with the objectives of Phantom Optimization, and its metrics."""

from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset
from transformers import Trainer

from phantom_edge.train.collate import Batch, Group, branch_mask
from phantom_edge.train.objectives import OBJECTIVES, Preference, Scores, answer_sums, margin, token_log_probs


class PhantomTrainer(Trainer):
    """Trains on :class:`Batch` es of :class:`Collator`.

    ``objective`` names one of OBJECTIVES. ``reference`` is the frozen model that DPO compares with; with adapters it
    may be None: the model without them serves instead. ``kinds`` name the numbers in ``Batch.kinds``.
    """

    def __init__(
        self,
        *args: Any,
        objective: str = "po",
        preference: Preference | None = None,
        reference: nn.Module | None = None,
        kinds: Sequence[str] = ("",),
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.objective = objective
        self.preference = preference or Preference()
        self.reference = reference
        self.kinds = tuple(kinds)
        self.loss_is_scaled_for_ga = True  # by the counts of _get_num_items_in_batch
        self.pending_sums: Counter[str] = Counter()
        self.control: Any

    def _get_num_items_in_batch(self, batch_samples: list[Batch], device: torch.device) -> Tensor:
        """Returns chosen tokens and pairs (2,) of an optimizer step, over all its micro-batches and processes."""
        tokens = sum(int(answer_lengths(batch)[batch["chosen"]].sum()) for batch in batch_samples)
        pairs = sum(len(batch["chosen"]) for batch in batch_samples)
        total: Tensor = self.accelerator.reduce(torch.tensor([tokens, pairs], device=device), "sum")
        return total

    def compute_loss(
        self,
        model: nn.Module,
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor | tuple[Tensor, dict[str, Tensor]]:
        """Returns a micro-batch's share of the step's objective: micro-batches and processes add up."""
        log_probs, right = self._read(model, inputs)
        reference = self._reference_log_probs(model, inputs) if self.objective == "dpo" else None
        step = num_items_in_batch if isinstance(num_items_in_batch, Tensor) else None
        scores = scores_of(inputs, log_probs, reference, step)
        loss = OBJECTIVES[self.objective](scores, self.preference)
        if self.model.training:
            with torch.no_grad():
                self.pending_sums.update(_sums(scores))
            loss = loss * self.accelerator.num_processes  # DDP averages gradients, the processes' losses add up
        return (loss, {"right": right}) if return_outputs else loss

    def _reference_log_probs(self, model: nn.Module, inputs: Batch) -> Tensor:
        reference: nn.Module = self.reference if self.reference is not None else model
        without: AbstractContextManager[Any] = nullcontext()
        if self.reference is None:
            without = self.accelerator.unwrap_model(model).disable_adapter()
        with torch.no_grad(), without:
            return self._read(reference, inputs)[0]

    def _read(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        return read_targets(model, batch, self.model.config.text.sliding_window)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add averages since the last call: SFT loss, log-probability a token, margin, preference accuracy."""
        if "loss" in logs and self.pending_sums:
            logs |= averages(self._over_processes(self.pending_sums))
            self.pending_sums.clear()
        super().log(logs, start_time)

    def _over_processes(self, sums: Counter[str]) -> Counter[str]:
        names = sorted(sums)
        values = torch.tensor([float(sums[name]) for name in names], dtype=torch.float64, device=self.args.device)
        total = self.accelerator.reduce(values, "sum").tolist()
        return Counter(dict(zip(names, total, strict=True)))

    def evaluate(
        self,
        eval_dataset: Dataset[Group] | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        """Returns averages as in ``log``, and the share of questions answered exactly right, overall and by kind.

        An answer is right when each of its tokens is the likeliest after the ones before: greedy decoding would
        generate it, so nothing needs to be generated.
        """
        data: Any = eval_dataset if eval_dataset is not None else self.eval_dataset
        share = Subset(data, range(self.accelerator.process_index, len(data), self.accelerator.num_processes))
        loader = DataLoader(
            share,
            batch_size=self.args.eval_batch_size,
            collate_fn=self.data_collator,
            num_workers=self.args.dataloader_num_workers,
        )
        sums: Counter[str] = Counter({f"{what}/{kind}": 0 for kind in self.kinds for what in ("right", "asked")})
        self.model.eval()
        for batch in loader:
            batch = self._prepare_inputs(batch)
            with torch.no_grad(), self.accelerator.autocast():
                log_probs, right = self._read(self.model, batch)
            sums.update(_sums(scores_of(batch, log_probs)))
            for kind, is_right in zip(batch["kinds"].tolist(), right[batch["chosen"]].tolist(), strict=True):
                sums[f"right/{self.kinds[kind]}"] += is_right
                sums[f"asked/{self.kinds[kind]}"] += 1
        total = self._over_processes(sums)
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in averages(total).items()}
        metrics |= {f"{metric_key_prefix}_{name}": value for name, value in exact_by_kind(total, self.kinds).items()}
        metrics[f"{metric_key_prefix}_loss"] = metrics[f"{metric_key_prefix}_sft_loss"]
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


def read_targets(model: nn.Module, batch: Batch, window: int | None = None) -> tuple[Tensor, Tensor]:
    """Returns log-probabilities of target tokens (T,), and True for answers that greedy decoding gives (A,)."""
    mask = branch_mask(batch["questions"], batch["answers"], batch["position_ids"], window)
    # only positions that predict a target need logits
    keep, at = torch.unique(batch["target_from"], return_inverse=True)
    logits = model(
        input_ids=batch["input_ids"],
        attention_mask=mask,
        position_ids=batch["position_ids"],
        pixel_values=batch.get("pixel_values"),
        logits_to_keep=keep,
        use_cache=False,
    ).logits[batch["target_row"], at]  # (T, vocab)
    hits = (logits.argmax(-1) == batch["target_id"]).long()
    lengths = answer_lengths(batch)
    right = answer_sums(hits, batch["target_answer"], len(lengths)) == lengths
    return token_log_probs(logits, batch["target_id"]), right


def answer_lengths(batch: Batch) -> Tensor:
    """Returns the number of tokens of each answer (A,)."""
    return batch["target_answer"].bincount()


def scores_of(batch: Batch, log_probs: Tensor, reference: Tensor | None = None, step: Tensor | None = None) -> Scores:
    """Returns per-pair scores from all targets' log-probabilities (T,); ``step`` as _get_num_items_in_batch."""
    answer, lengths = batch["target_answer"], answer_lengths(batch)
    sums = answer_sums(log_probs, answer, len(lengths))
    fixed = None if reference is None else answer_sums(reference, answer, len(lengths))
    chosen, rejected = batch["chosen"], batch.get("rejected")
    return Scores(
        chosen=sums[chosen],
        chosen_tokens=lengths[chosen],
        rejected=None if rejected is None else sums[rejected],
        rejected_tokens=None if rejected is None else lengths[rejected],
        reference_chosen=None if fixed is None else fixed[chosen],
        reference_rejected=None if fixed is None or rejected is None else fixed[rejected],
        step_tokens=None if step is None else step[0],
        step_pairs=None if step is None else step[1],
    )


def _sums(scores: Scores) -> dict[str, float]:
    """Returns the sums over pairs that averages need, and the number of pairs."""
    sums = {
        "pairs": float(len(scores.chosen)),
        "tokens": scores.chosen_tokens.sum().item(),
        "chosen": scores.chosen.sum().item(),
        "compared": 0.0,
        "rejected_tokens": 0.0,
        "rejected": 0.0,
        "margin": 0.0,
        "preferred": 0.0,
    }
    if scores.rejected is not None and scores.rejected_tokens is not None:
        gap = margin(scores)
        sums |= {
            "compared": float(len(gap)),
            "rejected_tokens": scores.rejected_tokens.sum().item(),
            "rejected": scores.rejected.sum().item(),
            "margin": gap.sum().item(),
            "preferred": (gap > 0).float().sum().item(),
        }
    return sums


def averages(sums: Counter[str]) -> dict[str, float]:
    """Returns SFT loss and, for compared answers, log-probabilities a token, margin and preference accuracy."""
    found = {"sft_loss": -sums["chosen"] / max(1, sums["tokens"])}
    if sums["compared"]:
        found |= {
            "chosen_log_prob": sums["chosen"] / max(1, sums["tokens"]),
            "rejected_log_prob": sums["rejected"] / max(1, sums["rejected_tokens"]),
            "margin": sums["margin"] / sums["compared"],
            "preference_accuracy": sums["preferred"] / sums["compared"],
        }
    return found


def exact_by_kind(sums: Counter[str], kinds: Sequence[str]) -> dict[str, float]:
    """Returns the share of questions answered exactly right: ``exact``, and ``exact_KIND`` for each kind."""
    right = sum(sums[f"right/{kind}"] for kind in kinds)
    asked = sum(sums[f"asked/{kind}"] for kind in kinds)
    found = {"exact": right / max(1, asked)}
    for kind in kinds:
        if kind and sums[f"asked/{kind}"]:
            found[f"exact_{kind}"] = sums[f"right/{kind}"] / sums[f"asked/{kind}"]
    return found
