"""Interpreters that run exported files operator by operator, to verify them."""
