"""Our tiling as a transformers image processor: saved, loaded and called like any other. Needs no torchvision."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from transformers import AutoImageProcessor, BatchFeature
from transformers.image_processing_utils import BaseImageProcessor

from phantom_edge.foundation.errors import EdgeError
from phantom_edge.models.config import PhantomConfig
from phantom_edge.processing.images import ImageSource, open_image
from phantom_edge.processing.tiling import IMAGENET_MEAN, IMAGENET_STD, Tiling, to_pixel_values

Images = ImageSource | list["Images"] | tuple["Images", ...]
"""One picture, or pictures nested in lists."""


class PhantomImageProcessor(BaseImageProcessor):
    """Cuts pictures into normalized tiles. Its attributes are its settings and may be changed between calls."""

    model_input_names: ClassVar[list[str]] = ["pixel_values"]

    def __init__(
        self,
        size: dict[str, int] | int = 448,
        min_tiles: int = 1,
        max_tiles: int = 6,
        use_thumbnail: bool = True,
        image_mean: Sequence[float] = IMAGENET_MEAN,
        image_std: Sequence[float] = IMAGENET_STD,
        image_processor_type: str | None = None,
        processor_class: str | None = None,
    ) -> None:
        """transformers writes the last two into saved files; they are not kept."""
        super().__init__()
        if isinstance(size, dict) and (set(size) != {"height", "width"} or size["height"] != size["width"]):
            raise EdgeError(f"the tile size is {size}", 'give a square: {"height": 448, "width": 448}')
        self.size = size if isinstance(size, dict) else {"height": size, "width": size}
        self.min_tiles = min_tiles
        self.max_tiles = max_tiles
        self.use_thumbnail = use_thumbnail
        self.image_mean = list(image_mean)
        self.image_std = list(image_std)
        assert self.tiling  # refuses impossible settings here, not at the first picture

    @property
    def tiling(self) -> Tiling:
        """The current settings. Raises EdgeError for impossible ones."""
        tiles = (self.size["height"], self.min_tiles, self.max_tiles, self.use_thumbnail)
        return Tiling(*tiles, mean=tuple(self.image_mean), std=tuple(self.image_std))

    def __call__(self, images: Images, return_tensors: str | None = None) -> BatchFeature:
        """Pictures (paths, bytes, files, Pillow images; nested or not) as one batch of tiles.

        ``pixel_values``: float32 (sum of tiles, 3, S, S), a torch tensor for ``return_tensors="pt"``, else numpy.
        ``tiles_per_image``: list of tile counts, in the order of the pictures.
        Raises EdgeError for unreadable pictures, and for none.
        """
        return self.preprocess(images, return_tensors)

    def preprocess(self, images: Images, return_tensors: str | None = None) -> BatchFeature:
        """Same as calling the processor, under transformers' name."""
        tiling = self.tiling
        tiles = [to_pixel_values(open_image(source), tiling) for source in flatten(images)]
        if not tiles:
            raise EdgeError("no picture was given", "pass at least one picture")
        batch = BatchFeature({"pixel_values": np.concatenate(tiles)}, tensor_type=return_tensors)
        batch["tiles_per_image"] = [len(image) for image in tiles]
        return batch


def flatten(images: Images) -> list[ImageSource]:
    """The pictures of any nesting, in order."""
    if isinstance(images, list | tuple):
        return [source for nested in images for source in flatten(nested)]
    return [images]


AutoImageProcessor.register(PhantomConfig, image_processor_classes={"pil": PhantomImageProcessor})
