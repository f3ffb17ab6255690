"""Target litert: models for Google's LiteRT, and the container that LiteRT-LM runs."""
