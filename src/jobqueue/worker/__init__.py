"""Handlers run here."""
