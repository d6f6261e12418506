import asyncio
import statistics
import threading
import time

import pytest
from argon2 import PasswordHasher

from jobqueue.domain.errors import Overloaded
from jobqueue.operations.passwords import AT_ONCE_MAX, LANES, MEMORY_KIB, NOBODYS, TIME_COST, WAITING_MAX, Passwords

PASSWORD = "correct horse battery staple"


async def test_a_password_is_right_against_its_own_hash_only() -> None:
    passwords = Passwords()
    kept = await passwords.hash(PASSWORD)
    assert kept.startswith("$argon2id$")
    assert kept != await passwords.hash(PASSWORD)
    assert (await passwords.check(kept, PASSWORD)).is_right
    assert not (await passwords.check(kept, PASSWORD + " ")).is_right
    assert not (await passwords.check("broken", PASSWORD)).is_right
    assert not (await passwords.check(None, PASSWORD)).is_right


async def test_two_ways_to_type_a_letter_are_one_password() -> None:
    passwords = Passwords()
    assert (await passwords.check(await passwords.hash("cafe\u0301 au lait"), "caf\u00e9 au lait")).is_right


async def test_a_hash_of_other_parameters_is_made_anew() -> None:
    passwords = Passwords()
    old = PasswordHasher(time_cost=2, memory_cost=8_192, parallelism=1).hash(PASSWORD)
    verdict = await passwords.check(old, PASSWORD)
    assert verdict.is_right
    assert verdict.fresh_hash is not None
    assert (await passwords.check(verdict.fresh_hash, PASSWORD)) == type(verdict)(True, None)
    assert (await passwords.check(old, "wrong")).fresh_hash is None


def test_nobody_s_hash_costs_what_a_new_one_costs() -> None:
    hasher = PasswordHasher(time_cost=TIME_COST, memory_cost=MEMORY_KIB, parallelism=LANES)
    assert not hasher.check_needs_rehash(NOBODYS)


async def test_an_unknown_user_takes_as_long_as_a_wrong_password() -> None:
    passwords = Passwords()
    kept = await passwords.hash(PASSWORD)
    taken_s: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(9):
        for is_known in (True, False):
            begun_s = time.perf_counter()
            await passwords.check(kept if is_known else None, "wrong")
            taken_s[is_known].append(time.perf_counter() - begun_s)
    ratio = statistics.median(taken_s[True]) / statistics.median(taken_s[False])
    assert 0.5 < ratio < 2


async def test_what_is_under_way_and_what_waits_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    passwords, go_on, running = Passwords(), threading.Event(), threading.Semaphore(0)

    def hold(_kept: str | None, _password: str) -> None:
        running.release()
        go_on.wait(30)

    monkeypatch.setattr(passwords, "_check", hold)
    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE_MAX + WAITING_MAX):
            group.create_task(passwords.check(None, PASSWORD))
        for _ in range(AT_ONCE_MAX):
            assert await asyncio.to_thread(running.acquire, timeout=10)
        with pytest.raises(Overloaded):
            await passwords.check(None, PASSWORD)
        assert not running.acquire(blocking=False)  # the others wait
        go_on.set()
    await passwords.check(None, PASSWORD)
