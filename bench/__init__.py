"""Benchmarks: programs that print figures, never timed tests. `python -m bench` compares with the peers; see README.md."""
