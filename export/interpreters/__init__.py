"""Interpreters that run written files here, operator by operator, to prove them."""
