"""phantom-nano: the small Phantom that ships inside the package, and how it is trained from nothing."""
