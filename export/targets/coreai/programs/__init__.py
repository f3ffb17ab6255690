"""Programs for the README of a bundle for Core AI."""
