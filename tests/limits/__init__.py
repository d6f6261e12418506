"""Limits under load, as programs: `make test-limits` runs them at their full length, the suite in short form."""
