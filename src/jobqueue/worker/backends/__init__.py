"""The two ways a worker reaches its jobs."""
