"""minidl measured beside PyTorch: `python -m benchmarks` (or `make bench`) prints a table."""
