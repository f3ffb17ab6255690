"""Does a bundle compute its model? Cases, measures, verdicts, and the report."""
