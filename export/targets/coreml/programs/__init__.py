"""Programs for the README of a bundle for Apple's systems."""
