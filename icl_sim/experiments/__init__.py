"""What claims share: replicate -> error, sweeps over cells, three-valued verdicts."""
