"""Handlers that come with the product."""

from typing import Final

from jobqueue.worker.handlers import echo, sleep
from jobqueue.worker.registry import HandlerSpec

BUILTIN: Final = (HandlerSpec("echo", echo.echo), HandlerSpec("sleep", sleep.sleep))
"""For `Registry.include`."""
