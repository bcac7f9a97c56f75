"""Speed, as ratios of two things run in one process: ``python -m benchmarks``."""
