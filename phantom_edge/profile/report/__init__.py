"""Profiles as tables, plots and one page."""
