"""Places in a model that the nodes of graphs are named after, so that profiles attribute the time."""

ATTENTION = "attention"
"""Queries, keys and values to the mixed values of the heads; rotations, masks and the cache included."""

PROJECTIONS = "projections"
"""Products with the weights of queries, keys, values and outputs."""

PHANTOM = "phantom maps"
"""Nodes for the phantom dimension alone: maps, concatenation of their halves with the plain ones, and the gate."""

MLP = "MLP"

NORMS = "norms"
"""Norms, and the sums before them."""

HEAD = "head"
PATCHES = "patches"
"""Pixels to the input of the tower's first layer."""

PROJECTOR = "projector"
"""Output of the tower's last layer to image tokens."""

PLACES = (PROJECTIONS, ATTENTION, PHANTOM, MLP, NORMS, HEAD, PATCHES, PROJECTOR)
