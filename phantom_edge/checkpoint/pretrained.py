"""The model class that reads and writes checkpoints, with transformers' interface."""

from os import PathLike
from pathlib import Path
from typing import Any

from transformers import AutoModelForImageTextToText

from phantom_edge.models.config import PhantomConfig
from phantom_edge.models.modeling import PhantomGenerationModel


class PhantomForConditionalGeneration(PhantomGenerationModel):
    """Pictures and a question to an answer, from an official checkpoint or one of ours."""

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | PathLike[str] | None, *args: Any, **kwargs: Any
    ) -> "PhantomForConditionalGeneration":
        """Load an official checkpoint or one of ours, by folder or hub id, as transformers does.

        ``dtype`` defaults to the weights' own. Raises an EdgeError that lists every missing, extra, misshapen or
        unreadable tensor. No code of a checkpoint is ever run.

        Where no cast is needed the weights stay mapped to the file. Writing into that file (``cp`` over it) changes
        the model or ends the process; renaming a new file to its name, as we always do, does not.
        """
        if pretrained_model_name_or_path is None:
            return cls.load_checked(None, *args, **kwargs)
        from phantom_edge.checkpoint.loading import load

        return load(cls, str(pretrained_model_name_or_path), **kwargs)

    def save_pretrained(self, save_directory: str | PathLike[str], **kwargs: Any) -> None:
        """Save in our layout, as transformers does, but whole: nothing is written in place.

        A folder that holds an older checkpoint, even the one that this model was loaded from, keeps it until the new
        weights are complete; then its weights of another shard layout are removed. Needs room for both. Options are
        transformers', except ``variant``. Raises EdgeError where the disk refuses.
        """
        from phantom_edge.checkpoint.saving import save

        save(super().save_pretrained, Path(save_directory), kwargs, self.name_or_path or "")

    @classmethod
    def load_checked(cls, *args: Any, **kwargs: Any) -> Any:
        """transformers' own loader, for a checked checkpoint."""
        return super().from_pretrained(*args, **kwargs)


AutoModelForImageTextToText.register(PhantomConfig, PhantomForConditionalGeneration)
