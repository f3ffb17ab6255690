"""Graphs for Qualcomm's Hexagon tensor processor (HTP): fixed shapes, fixed point, compiled for a chip."""
