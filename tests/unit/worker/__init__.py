"""The worker over an in-memory backend."""
