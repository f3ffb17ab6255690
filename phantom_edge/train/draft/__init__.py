"""Training of draft layers."""
