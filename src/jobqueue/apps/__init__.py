"""Composition: one module per role; only these and the commands read the settings."""
