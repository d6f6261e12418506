"""A tenant's request reaches public addresses only, whatever its name, its redirects and its answers try."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest

from jobqueue.domain.addresses import parse_networks
from jobqueue.outbound.http import AnswerTooLarge, Guard, OutboundFailed, OutboundRefused, Outgoing, check_headers, parse_url, sending
from tests.unit.outbound.peer import answer, listening

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl here to make a certificate with")
HERE = parse_networks(["127.0.0.1", "::1"])


def known(**names: list[str]) -> Any:
    """A resolver that knows these names, and counts."""
    asked: list[str] = []

    async def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        if host not in names:
            raise OSError(f"no such name: {host}")
        return names[host]

    resolve.asked = asked  # type: ignore[attr-defined]
    return resolve


async def fetch(guard: Guard, url: str, **options: Any) -> tuple[int, bytes, str]:
    async with sending(Outgoing(**{"method": "GET", "url": url, **options}), guard) as got:
        return got.status, b"".join([chunk async for chunk in got.chunks]), got.url


async def test_allowed_address_is_reached_under_the_name_of_the_url() -> None:
    async with listening(answer(b"hello")) as peer:
        guard = Guard(allowed=HERE, resolve=known(hook=["127.0.0.1"]))
        status, body, url = await fetch(guard, f"http://hook:{peer.port}/a?b=c")
    assert (status, body, url) == (200, b"hello", f"http://hook:{peer.port}/a?b=c")
    assert peer.requests[0].startswith(b"GET /a?b=c HTTP/1.1\r\n")
    assert f"host: hook:{peer.port}\r\n".encode() in peer.requests[0].lower()


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "0.0.0.0", "localhost", "[::1]", "[::ffff:127.0.0.1]", "[::]",
     "169.254.169.254"],
)  # fmt: skip
async def test_this_machine_is_refused_however_it_is_written(host: str) -> None:
    async with listening(answer(b"secret")) as peer:
        with pytest.raises((OutboundRefused, OutboundFailed)):  # some systems do not read some of the forms at all
            await fetch(Guard(), f"http://{host}:{peer.port}/")
    assert peer.requests == []


async def test_one_bad_address_among_good_ones_is_enough() -> None:
    guard = Guard(resolve=known(mixed=["93.184.216.34", "10.0.0.1"]))
    with pytest.raises(OutboundRefused, match="private"):
        await fetch(guard, "http://mixed/")


async def test_name_is_resolved_once_so_that_it_cannot_change_between_check_and_connection() -> None:
    async with listening(answer(b"hello")) as peer:
        resolve = known(hook=["127.0.0.1"])
        await fetch(Guard(allowed=HERE, resolve=resolve), f"http://hook:{peer.port}/")
    assert resolve.asked == ["hook"]


async def test_refusal_does_not_tell_the_address() -> None:
    with pytest.raises(OutboundRefused) as caught:
        await fetch(Guard(resolve=known(inside=["10.11.12.13"])), "http://inside/")
    assert "10.11.12.13" not in str(caught.value)


async def test_other_ports_of_public_addresses_are_refused() -> None:
    with pytest.raises(OutboundRefused, match="port 25 is not to be reached, only 80 and 443"):
        await fetch(Guard(resolve=known(mail=["93.184.216.34"])), "http://mail:25/")


async def test_redirect_to_this_machine_is_refused() -> None:
    async with listening(answer(b"secret")) as inner, listening(answer(status=302, location=f"http://localhost:{inner.port}/")) as outer:
        guard = Guard(allowed=HERE, resolve=known(hook=["127.0.0.1"], localhost=["127.0.0.2"]))
        with pytest.raises(OutboundRefused, match="'localhost' leads to an address that is not to be reached: loopback"):
            await fetch(guard, f"http://hook:{outer.port}/", redirects_max=3)
    assert inner.requests == []


async def test_redirect_is_an_answer_unless_asked_to_follow() -> None:
    async with listening(answer(status=302, location="/there")) as peer:
        guard = Guard(allowed=HERE)
        assert (await fetch(guard, peer.url))[0] == 302
        assert (await fetch(guard, peer.url, redirects_max=2))[0] == 302  # the third hop's, as it stands
    assert len(peer.requests) == 4


async def test_followed_redirect_takes_no_credentials_and_no_body_to_another_place() -> None:
    async with listening(answer(b"there")) as other, listening(answer(status=302, location=f"http://127.0.0.1:{other.port}/")) as peer:
        sent = {"method": "POST", "body": b"x", "headers": {"Authorization": "Bearer t", "x-own": "1"}, "redirects_max": 1}
        assert (await fetch(Guard(allowed=HERE), peer.url, **sent))[1] == b"there"
    assert peer.requests[0].startswith(b"POST") and b"Bearer t" in peer.requests[0]  # noqa: PT018
    assert other.requests[0].startswith(b"GET")
    assert b"Bearer t" not in other.requests[0]
    assert b"x-own: 1" in other.requests[0].lower()


async def test_permanent_redirect_of_the_second_kind_keeps_method_and_body() -> None:
    async with listening(answer(status=308, location="/new"), answer(b"ok")) as peer:
        await fetch(Guard(allowed=HERE), peer.url, method="PUT", body=b"data", redirects_max=1)
    assert peer.requests[1].startswith(b"PUT /new")
    assert peer.requests[1].endswith(b"data")


async def test_answer_is_read_up_to_its_bound() -> None:
    async with listening(answer(b"x" * 1000)) as peer:
        assert len((await fetch(Guard(allowed=HERE), peer.url, body_bytes_max=1000))[1]) == 1000
        with pytest.raises(AnswerTooLarge, match="more than 999 bytes"):
            await fetch(Guard(allowed=HERE), peer.url, body_bytes_max=999)


async def test_small_body_cannot_become_a_large_one() -> None:
    import gzip

    packed = gzip.compress(bytes(10_000_000))
    async with listening(answer(packed, content_encoding="gzip")) as peer:
        assert (await fetch(Guard(allowed=HERE), peer.url, body_bytes_max=20_000))[1] == packed
    assert b"accept-encoding: identity" in peer.requests[0].lower()


async def test_peer_that_says_nothing_ends_at_the_time_bound() -> None:
    async with listening(b"") as peer:
        with pytest.raises(TimeoutError):
            await fetch(Guard(allowed=HERE), peer.url, seconds_max=0.1)


async def test_body_that_breaks_off_is_a_failure_and_not_an_answer() -> None:
    async with listening(answer(b"x", content_length="100")) as peer:
        with pytest.raises(OutboundFailed, match="broke off after 1 bytes"):
            await fetch(Guard(allowed=HERE), peer.url)


async def test_next_address_is_tried_where_nobody_listens_at_the_first() -> None:
    async with listening(answer(b"second")) as peer:
        guard = Guard(allowed=parse_networks(["127.0.0.0/8"]), resolve=known(hook=["127.0.0.9", "127.0.0.1"]))
        assert (await fetch(guard, f"http://hook:{peer.port}/"))[1] == b"second"


@pytest.mark.parametrize(("names", "said"), [({}, "cannot be resolved"), ({"gone": []}, "has no address")])
async def test_name_without_address_is_a_failure_that_may_pass(names: dict[str, list[str]], said: str) -> None:
    with pytest.raises(OutboundFailed, match=said):
        await fetch(Guard(resolve=known(**names)), "http://gone/")


async def test_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    async with listening(answer(b"direct")) as peer:
        assert (await fetch(Guard(allowed=HERE), peer.url))[1] == b"direct"


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "ftp://a/b", "gopher://a/", "//a/b", "a", "", "http://", "http:///a", "http://u:p@a/", "http://u@a/", "http://a:0/",
     "http://a:99999/", "http://a/" + "x" * 3000, "data:,x", "unix:/run/x.sock"],
)  # fmt: skip
def test_what_is_no_plain_url_is_refused(url: str) -> None:
    with pytest.raises(OutboundRefused):
        parse_url(url)


@pytest.mark.parametrize(
    ("name", "value"),
    [("Host", "a"), ("content-length", "1"), ("Transfer-Encoding", "chunked"), ("a b", "c"), ("", "c"), ("a\r\nb", "c"),
     ("a", "b\r\nc: d"), ("a", "b\0"),
     ("a", "ü"), ("a", "x" * 9000), ("Expect", "100-continue")],
)  # fmt: skip
def test_header_that_cannot_be_sent_is_refused(name: str, value: str) -> None:
    with pytest.raises(OutboundRefused):
        check_headers({name: value})
    check_headers({"Authorization": "Bearer a-b", "X-Own": "a\tb"})


@pytest.fixture
def tls(tmp_path: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """What serves as hook.test, and what trusts it."""
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-days", "2", "-subj", "/CN=hook.test",
         "-addext", "subjectAltName=DNS:hook.test", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(certificate, key)
    return serving, ssl.create_default_context(cafile=str(certificate))


@needs_openssl
async def test_certificate_is_verified_against_the_name_and_not_the_address(tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    guard = Guard(allowed=HERE, resolve=known(**{"hook.test": ["127.0.0.1"], "other.test": ["127.0.0.1"]}), tls=tls[1])
    async with listening(answer(b"private"), tls=tls[0]) as peer:
        assert (await fetch(guard, f"https://hook.test:{peer.port}/"))[1] == b"private"
        with pytest.raises(OutboundFailed, match=r"CERTIFICATE_VERIFY_FAILED|certificate"):
            await fetch(guard, f"https://other.test:{peer.port}/")


@needs_openssl
async def test_redirect_from_https_to_http_is_refused(tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    guard = Guard(allowed=HERE, resolve=known(**{"hook.test": ["127.0.0.1"]}), tls=tls[1])
    async with listening(answer(status=302, location="http://hook.test/"), tls=tls[0]) as peer:
        with pytest.raises(OutboundRefused, match="from https to http"):
            await fetch(guard, f"https://hook.test:{peer.port}/", redirects_max=1)
