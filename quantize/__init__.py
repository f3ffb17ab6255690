"""Weights as integers: quantized once, on the torch weights; targets only encode these integers."""
