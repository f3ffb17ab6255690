"""Places in a model that the nodes of graphs are named after, so that profilers tell where the time goes."""

ATTENTION = "attention"
"""From queries, keys and values to what their heads mix; rotations, masks and the cache among it."""

PROJECTIONS = "projections"
"""Products with the weights of queries, keys, values and outputs."""

PHANTOM = "phantom maps"
"""What there is for the phantom dimension alone: maps, what puts their halves beside the plain ones, and the gate."""

MLP = "MLP"

NORMS = "norms"
"""And the sums before them."""

HEAD = "head"
PATCHES = "patches"
"""Pixels to what the tower's first layer reads."""

PROJECTOR = "projector"
"""What the tower's last layer says to image tokens."""

PLACES = (PROJECTIONS, ATTENTION, PHANTOM, MLP, NORMS, HEAD, PATCHES, PROJECTOR)
