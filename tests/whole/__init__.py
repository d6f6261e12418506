"""The whole path with real processes: HTTP in, workers, home."""
