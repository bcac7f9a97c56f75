"""From random errors to verdicts: intervals, cells, sweeps, slopes, lemmas."""
