"""Weights as integers: quantized once, on the torch weights; a target only encodes what is decided here."""
