"""Telling: typed events, emitted after commit, that subscribers turn into logs and metrics.

`metrics` needs the server's packages and is imported by apps alone; `events` and `logs` ship with the client and the HTTP worker.
"""
