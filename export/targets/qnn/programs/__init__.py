"""Programs for the README of a bundle for Hexagon."""
