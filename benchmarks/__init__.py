"""Speed, beside other libraries and the machine's own limits: ``python -m benchmarks``."""
