"""What the names of a checkpoint's tensors begin with, part by part."""

DECODER = "model.language_model."
TOWER, PROJECTOR = "model.vision_tower.", "model.projector."
