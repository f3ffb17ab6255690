"""What the names of a checkpoint's tensors begin with, part by part."""

DECODER = "model.language_model."
TOWER, PROJECTOR = "model.vision_tower.", "model.projector."

ATTENTION, PROJECTIONS, PHANTOM, MLP, NORMS = "attention", "projections", "phantom maps", "MLP", "norms"
HEAD, PATCHES, MERGING = "head", "patches", "projector"
GROUPS = (PROJECTIONS, ATTENTION, PHANTOM, MLP, NORMS, HEAD, PATCHES, MERGING)
"""Places in a model that nodes of graphs are named after: products with the weights of queries, keys, values and outputs;
all that is between them but for the phantom dimension; what there is for that, its gate included; two or three products
and what is between them; norms with the sums before them; logits; pixels to patches; patches to image tokens.
"""
