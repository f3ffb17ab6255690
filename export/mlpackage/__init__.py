"""Core ML packages, drawn operator by operator in the model intermediate language (MIL)."""
