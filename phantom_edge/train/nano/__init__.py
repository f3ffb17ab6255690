"""phantom-nano: the small Phantom that ships inside the package, and its training from scratch."""
