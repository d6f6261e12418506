"""Fixtures of the worker's tests."""

import pytest

from jobqueue.worker.registry import Registry
from tests.fakes.backend import FakeEngine


@pytest.fixture
def engine() -> FakeEngine:
    """An empty queue in memory."""
    return FakeEngine()


@pytest.fixture
def registry() -> Registry:
    """No handlers yet."""
    return Registry()
