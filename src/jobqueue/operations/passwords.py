"""Passwords: argon2id, in threads of its own, so many at once and no more.

A hash takes tens of milliseconds and MEMORY_KIB of memory by design, so what is under way is bounded, and so is what may wait for it:
callers beyond that are told to come back. Whoever is unknown is checked against a hash that is nobody's, which takes as long.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from jobqueue.domain.errors import Overloaded
from jobqueue.domain.person import normalise_password

TIME_COST, MEMORY_KIB, LANES = 1, 47_104, 1
"""OWASP's first choice for argon2id (password storage cheat sheet): 46 MiB, one pass, one lane."""
AT_ONCE_MAX: Final = 2
WAITING_MAX: Final = 30
"""At some 50 ms a hash and two at once, the last of them waits under a second."""
NOBODYS: Final = "$argon2id$v=19$m=47104,t=1,p=1$pGn/u624L+us+qqUeMIHHQ$NncuqnsnuFnoTPN+OzG08xJvSw+kyZuTVqmb6/cmcLU"
"""Of a random password nobody kept, made with the parameters above."""

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a password is right; fresh_hash: keep this one instead, the old one was made with other parameters."""

    is_right: bool
    fresh_hash: str | None = None


class Passwords:
    """Hashes and checks. One per process."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher(time_cost=TIME_COST, memory_cost=MEMORY_KIB, parallelism=LANES)
        self._threads = ThreadPoolExecutor(AT_ONCE_MAX, thread_name_prefix="passwords")
        self._under_way = 0

    async def hash(self, password: str) -> str:
        """Make the hash to keep. Raises Overloaded."""
        return await self._run(lambda: self._hasher.hash(normalise_password(password)))

    async def check(self, kept: str | None, password: str) -> Verdict:
        """Check a password against the hash kept; None: of nobody, which is never right and takes as long. Raises Overloaded."""
        return await self._run(lambda: self._check(kept, normalise_password(password)))

    def _check(self, kept: str | None, password: str) -> Verdict:
        try:
            self._hasher.verify(NOBODYS if kept is None else kept, password)
        except (VerificationError, InvalidHashError):
            return Verdict(False)
        if kept is None:
            return Verdict(False)
        return Verdict(True, self._hasher.hash(password) if self._hasher.check_needs_rehash(kept) else None)

    async def _run(self, work: Callable[[], Result]) -> Result:
        if self._under_way >= AT_ONCE_MAX + WAITING_MAX:
            raise Overloaded("too many passwords are being checked")
        self._under_way += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._under_way -= 1
