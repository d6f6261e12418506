"""Handlers that come with the product."""

from typing import Final

from jobqueue.worker.handlers import csv_correct, csv_validate, echo, sleep
from jobqueue.worker.registry import HandlerSpec

BUILTIN: Final = (
    HandlerSpec("echo", echo.echo),
    HandlerSpec("sleep", sleep.sleep),
    HandlerSpec("csv_validate", csv_validate.csv_validate),
    HandlerSpec("csv_correct", csv_correct.csv_correct),
)
"""For `Registry.include`."""
