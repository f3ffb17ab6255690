"""Target qnn: graphs in fixed point, compiled for Qualcomm's Hexagon processor."""
