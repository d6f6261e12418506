"""Handlers that come with the product."""

from typing import Final

from jobqueue.worker.handlers import csv_correct, csv_validate, echo, email, http_request, image_resize, report, sleep
from jobqueue.worker.registry import HandlerSpec

IMAGE_MEMORY_MIB: Final = 1024
"""Two pictures of the largest size, and what making one of the other takes."""

BUILTIN: Final = (
    HandlerSpec("echo", echo.echo),
    HandlerSpec("sleep", sleep.sleep),
    HandlerSpec("csv_validate", csv_validate.csv_validate),
    HandlerSpec("csv_correct", csv_correct.csv_correct),
    HandlerSpec("http_request", http_request.http_request),
    HandlerSpec("email", email.email),
    HandlerSpec("report", report.report),
    HandlerSpec("image_resize", image_resize.image_resize, is_isolated=True, memory_mib=IMAGE_MEMORY_MIB),
)
"""For `Registry.include`."""
