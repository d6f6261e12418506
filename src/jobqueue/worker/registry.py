"""Which function runs which type of job."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, TypeVar

from jobqueue.domain.job import HANDLER_OF, HandlerDefaults
from jobqueue.worker.arguments import Parse, SignatureError, compile_parse

Function = TypeVar("Function", bound=Callable[..., Any])

_NAME: Final = re.compile(r"[A-Za-z0-9_.:-]{1,100}")

MEMORY_MIB_MIN: Final = 64


class HandlerError(Exception):
    """A handler cannot be registered or loaded; one line that says which and what to change."""


@dataclass(frozen=True)
class HandlerSpec:
    """One handler. queue, attempts_max, timeout_s and memory_mib are None where it leaves them to the job and the settings."""

    name: str
    function: Callable[..., Any]
    queue: str | None = None
    attempts_max: int | None = None
    timeout_s: float | None = None
    is_isolated: bool = False
    memory_mib: int | None = None

    @cached_property
    def is_async(self) -> bool:
        """Whether it runs on the event loop; else in a thread."""
        call = self.function if inspect.isroutine(self.function) else getattr(self.function, "__call__", None)  # noqa: B004
        return inspect.iscoroutinefunction(self.function) or inspect.iscoroutinefunction(call)

    @cached_property
    def parse(self) -> Parse:
        """Check data and make arguments of it. The first use raises HandlerError if the signature is wrong."""
        try:
            return compile_parse(self.function)
        except SignatureError as error:
            raise HandlerError(f"handler {self.name!r}: {error}") from error


class Registry:
    """Handlers by the name of the job type."""

    def __init__(self) -> None:
        self._specs: dict[str, HandlerSpec] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._specs

    def __iter__(self) -> Iterator[HandlerSpec]:
        return iter(self._specs.values())

    def __len__(self) -> int:
        return len(self._specs)

    @property
    def job_types(self) -> list[str]:
        """Every type this process takes, sorted."""
        return sorted(self._specs)

    def get(self, name: str) -> HandlerSpec | None:
        """Find a handler."""
        return self._specs.get(name)

    def add(self, spec: HandlerSpec) -> None:
        """Register a handler. Raises HandlerError when its name is malformed or taken."""
        if not _NAME.fullmatch(spec.name):
            raise HandlerError(f"handler {spec.name!r}: a job type is 1-100 of A-Z a-z 0-9 _ . : -")
        taken = self._specs.get(spec.name)
        if taken is not None:
            raise HandlerError(
                f"handler {spec.name!r} is registered twice: {_place(taken.function)} and {_place(spec.function)}; rename one of them"
            )
        self._specs[spec.name] = spec

    def include(self, specs: Iterable[HandlerSpec]) -> None:
        """Register handlers of another registry too, such as the built-in ones."""
        for spec in specs:
            self.add(spec)

    def check(self) -> None:
        """Make every argument checker now, so that a wrong signature stops the start and not a job. Raises HandlerError."""
        for spec in self:
            _ = spec.parse

    def job(
        self,
        name: str,
        *,
        queue: str | None = None,
        max_attempts: int | None = None,
        timeout: float | None = None,
        isolated: bool = False,
        memory_mib: int | None = None,
    ) -> Callable[[Function], Function]:
        """Register the decorated function as the handler of a job type; the function itself stays as it is.

        queue and max_attempts are those of jobs that are submitted by the function, `client.submit(resize_image, {...})`, and name none
        of their own; a job submitted by its name has its queue's and the server's.
        timeout is in seconds. isolated: every run gets a process of its own, with at most memory_mib of memory; the bound holds
        too for the isolated run that follows a crash. A plain `def` runs in a thread.
        """
        if max_attempts is not None and max_attempts < 1:
            raise HandlerError(f"handler {name!r}: max_attempts is at least 1")
        if timeout is not None and not timeout > 0:
            raise HandlerError(f"handler {name!r}: timeout is a number of seconds above 0")

        if memory_mib is not None and memory_mib < MEMORY_MIB_MIN:
            raise HandlerError(f"handler {name!r}: memory_mib is at least {MEMORY_MIB_MIN}, which Python itself needs")

        def register(function: Function) -> Function:
            self.add(HandlerSpec(name, function, queue, max_attempts, timeout, isolated, memory_mib))
            with contextlib.suppress(AttributeError, TypeError):  # a callable that takes no attributes is submitted by its name
                setattr(function, HANDLER_OF, HandlerDefaults(name, queue, max_attempts))
            return function

        return register


default_registry: Final = Registry()
"""Where `@job` puts handlers."""

job = default_registry.job


def load_handlers(modules: Iterable[str]) -> None:
    """Import modules that register handlers, found from the working directory too. Raises HandlerError naming the module."""
    here = os.getcwd()
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)
    for module in modules:
        try:
            importlib.import_module(module)
        except HandlerError as error:
            raise HandlerError(f"handlers of {module!r}: {error}") from error
        except Exception as error:  # a module may fail in any way while it is imported
            said = " ".join(str(error).split())
            raise HandlerError(f"cannot import handlers from {module!r}: {type(error).__name__}: {said}") from error


def _place(function: Callable[..., Any]) -> str:
    return f"{getattr(function, '__module__', '?')}.{getattr(function, '__qualname__', function)}"
