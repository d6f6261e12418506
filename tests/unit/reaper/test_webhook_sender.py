"""A try reaches public addresses only, ends in time, and whatever comes of it is that delivery's own matter."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from jobqueue.domain.addresses import parse_networks
from jobqueue.domain.webhook import Answer
from jobqueue.operations.webhook_delivery import Claimed
from jobqueue.operations.webhook_secrets import SecretBox
from jobqueue.outbound.http import Guard
from jobqueue.reaper import webhook_sender
from jobqueue.reaper.webhook_sender import WebhookSender
from tests.fake_clock import FakeClock
from tests.unit.domain.test_addresses import REFUSED
from tests.unit.outbound.peer import answer, listening

HERE = parse_networks(["127.0.0.1"])
WRITTEN = [
    "127.0.0.1", "127.1", "127.0.1", "2130706433", "017700000001", "0x7f000001", "0x7f.1", "0177.0.0.1", "127.0.0.1.", "localhost",
    "0", "0.0.0.0", "[::1]", "[::]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]",
    "[64:ff9b::127.0.0.1]", "[64:ff9b::a9fe:a9fe]", "[64:ff9b:1::7f00:1]", "[2002:7f00:1::]", "[2002:a9fe:a9fe::]", "[2001:0:7f00:1::]",
    "[fe80::1]", "[fc00::1]", "[fd00:ec2::254]", "[fec0::1]", "[ff02::1]", "[ff0e::1]", "169.254.169.254", "2852039166", "0xa9fea9fe",
    "0251.0376.0251.0376", "10.0.0.1", "10.1", "172.16.0.1", "192.168.1.1", "3232235777", "100.64.0.1", "192.0.0.170", "192.88.99.1",
    "198.18.0.1", "224.0.0.1", "239.255.255.250", "255.255.255.255", "240.0.0.1", "203.0.113.1",
]  # fmt: skip
"""As a URL may write them: dotted, short, decimal, octal, hexadecimal, mapped, translated, tunnelled."""


def sender_of(guard: Guard, faults: list[Exception] | None = None) -> WebhookSender:
    faults = [] if faults is None else faults
    return WebhookSender(
        None, None, SecretBox(["k" * 32]), guard, now_s=lambda: 1_700_000_000.0, clock=FakeClock(),  # type: ignore[arg-type]
        on_fault=lambda name, fault: faults.append(fault), emit=lambda event: None,
    )  # fmt: skip


def claimed(url: str, **fields: Any) -> Claimed:
    usual = {"webhook_id": UUID(int=7), "seq": 42, "attempt": 1, "tenant": "acme", "body": b"{}", "secrets": (b"s" * 32,)}
    return Claimed(**{**usual, "url": url, "event_at": datetime.now(UTC), **fields})


def names(*turns: list[str]) -> Any:
    """A resolver that answers one turn after the other, the last one again and again, and counts."""
    asked: list[str] = []

    async def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return turns[min(len(asked), len(turns)) - 1]

    resolve.asked = asked  # type: ignore[attr-defined]
    return resolve


async def send(guard: Guard, url: str) -> Answer:
    async with asyncio.timeout(30):
        return await sender_of(guard).send(claimed(url))


# ------------------------------------------------------------------------------------------------------- addresses


def test_tables_are_long_enough_to_mean_something() -> None:
    assert len(set(WRITTEN)) >= 40
    assert len(set(REFUSED)) >= 40


@pytest.mark.parametrize("address", REFUSED)
async def test_name_that_leads_to_what_is_not_public_is_refused(address: str) -> None:
    told = await send(Guard(resolve=names([address])), "https://hook.example/")
    assert told.status is None
    assert "is not to be reached" in str(told.error)


@pytest.mark.parametrize("host", WRITTEN)
async def test_address_that_is_not_public_is_refused_however_it_is_written(host: str) -> None:
    async with listening(answer(b"secret")) as peer:
        told = await send(Guard(), f"http://{host}:{peer.port}/")
    assert told.status is None
    assert peer.requests == []
    assert any(words in str(told.error) for words in ("not to be reached", "cannot be resolved", "that is no URL"))


async def test_name_that_changes_its_answer_is_asked_once_a_try_and_its_first_answer_is_where_the_try_goes() -> None:
    """Between the check and the connection it says another address already, where something listens on the same port."""
    async with listening(answer(b"secret")) as private, listening(answer(b"public"), host="127.0.0.2", port=private.port) as public:
        resolve = names(["127.0.0.2"], ["127.0.0.1"])
        guard = Guard(allowed=parse_networks(["127.0.0.2"]), resolve=resolve)
        url = f"http://rebind.example:{public.port}/"
        assert (await send(guard, url)).status == 200
        assert resolve.asked == ["rebind.example"]
        refused = await send(guard, url)
    assert (refused.status, len(public.requests), private.requests) == (None, 1, [])
    assert "loopback" in str(refused.error)


async def test_one_bad_address_among_good_ones_is_enough() -> None:
    told = await send(Guard(resolve=names(["93.184.216.34", "169.254.169.254"])), "https://hook.example/")
    assert told.status is None
    assert "is not to be reached" in str(told.error)
    assert "169.254" not in str(told.error), "the address itself is not told"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirect_to_what_is_not_public_is_an_answer_and_nothing_is_sent_there(status: int) -> None:
    for host in WRITTEN[:12]:
        async with (
            listening(answer(b"secret")) as inner,
            listening(answer(status=status, location=f"http://{host}:{inner.port}/")) as outer,
        ):
            told = await send(Guard(allowed=HERE), outer.url)
        assert (told.status, len(outer.requests), inner.requests) == (status, 1, [])


async def test_other_ports_of_public_addresses_are_refused() -> None:
    told = await send(Guard(resolve=names(["93.184.216.34"])), "https://hook.example:6379/")
    assert "port 6379 is not to be reached" in str(told.error)


async def test_what_an_operator_allows_is_reached() -> None:
    async with listening(answer(b"yes")) as peer:
        assert (await send(Guard(allowed=HERE), peer.url)).status == 200


# --------------------------------------------------------------------------------------------------------- answers


async def test_receiver_that_says_nothing_ends_at_the_bound_of_a_try(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook_sender, "TRY_S_MAX", 0.2)
    async with listening(b"") as peer:
        told = await send(Guard(allowed=HERE), peer.url)
    assert (told.status, told.error) == (None, "no answer within 0.2 s")


async def test_status_counts_although_the_body_is_endless_or_breaks_off() -> None:
    for said in (answer(b"x" * 1_000_000), answer(b"x", content_length="100")):
        async with listening(said) as peer:
            told = await send(Guard(allowed=HERE), peer.url)
        assert told.status == 200
        assert len(told.excerpt) <= 500


async def test_answer_asks_for_patience_in_seconds() -> None:
    async with listening(answer(status=429, retry_after="120")) as peer:
        assert (await send(Guard(allowed=HERE), peer.url)).retry_after_s == 120


async def test_nobody_there_is_a_failure_and_so_is_nonsense() -> None:
    assert "no connection" in str((await send(Guard(allowed=HERE), "http://127.0.0.1:9/")).error)
    async with listening(b"SSH-2.0-hello\r\n") as peer:
        assert "no answer" in str((await send(Guard(allowed=HERE), peer.url)).error)


async def test_fault_of_ours_fails_the_try_and_is_told() -> None:
    faults: list[Exception] = []

    async def broken(host: str, port: int) -> list[str]:
        return ["not an address"]

    told = await sender_of(Guard(resolve=broken), faults).send(claimed("https://hook.example/"))
    assert told.error == "the try failed"
    assert len(faults) == 1


async def test_request_carries_the_headers_of_the_standard_and_no_others_of_value() -> None:
    async with listening(answer(status=204)) as peer:
        await sender_of(Guard(allowed=HERE)).send(claimed(peer.url, body=b'{"a":1}'))
    head, _, body = peer.requests[0].partition(b"\r\n\r\n")
    sent = {line.split(b":")[0].lower().decode() for line in head.split(b"\r\n")[1:]}
    assert {"webhook-id", "webhook-timestamp", "webhook-signature", "content-type", "user-agent"} <= sent
    assert sent.isdisjoint({"cookie", "authorization"})
    assert body == b'{"a":1}'
    assert b"webhook-timestamp: 1700000000" in head.lower()
