"""The handler `email`, against a real SMTP server on this machine."""

from __future__ import annotations

import asyncio
import email
from collections.abc import AsyncIterator
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any, cast

import pytest
import pytest_asyncio
from aiosmtpd.smtp import SMTP, Envelope, Session

from jobqueue.worker.surroundings import Smtp
from tests.fakes.backend import FakeJob
from tests.unit.worker.handlers.running import failure, run


class Post:
    """Keeps mails; refuses what the recipient's name says."""

    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []

    async def handle_RCPT(self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]) -> str:  # noqa: N802
        if address.startswith("nobody"):
            return "550 no such user"
        if address.startswith("later"):
            return "451 try later"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        self.envelopes.append(envelope)
        return "250 taken"

    def message(self) -> EmailMessage:
        """Read the only mail that came. No property: aiosmtpd calls those of its handler when it starts."""
        (envelope,) = self.envelopes
        return cast(EmailMessage, email.message_from_bytes(cast(bytes, envelope.content), policy=default))


@pytest.fixture
def post() -> Post:
    return Post()


@pytest_asyncio.fixture
async def smtp(post: Post) -> AsyncIterator[Smtp]:
    """A server on a free port."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(post, hostname="mail.test", loop=loop), "127.0.0.1", 0)
    yield Smtp(host="127.0.0.1", port=server.sockets[0].getsockname()[1], security="none", sender="Jobs <jobs@example.com>")
    server.close()
    await server.wait_closed()


MAIL = {"to": "ann@example.org", "subject": "Grüße", "text": "Hallo, Ann.\n"}


async def send(smtp: Smtp | None, changes: dict[str, Any] | None = None, **options: Any) -> FakeJob:
    return await run("email", {**MAIL, **(changes or {})}, smtp=smtp, **options)


async def test_mail_arrives_with_a_message_id_made_from_the_job(smtp: Smtp, post: Post) -> None:
    job = await send(smtp)
    message = post.message()
    assert job.result == {"message_id": f"<{job.id}@example.com>", "accepted": 1, "refused": {}}
    assert (message["from"], message["to"], message["subject"]) == ("Jobs <jobs@example.com>", "ann@example.org", "Grüße")
    assert message["message-id"] == f"<{job.id}@example.com>"
    assert message.get_content().splitlines() == ["Hallo, Ann."]


async def test_copies_hidden_recipients_html_and_attachments(smtp: Smtp, post: Post, tmp_path: Path) -> None:
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo/bill.pdf").write_bytes(b"%PDF")
    changes = {"to": ["ann@example.org", "bob@example.org"], "cc": "carl@example.org", "bcc": ["dora@example.org"], "html": "<b>Hallo</b>",
               "reply_to": "shop@tenant.example", "attachments": ["bill.pdf"]}  # fmt: skip
    job = await send(smtp, changes, files_dir=str(tmp_path))
    assert job.result["accepted"] == 4
    assert post.envelopes[0].rcpt_tos == ["ann@example.org", "bob@example.org", "carl@example.org", "dora@example.org"]
    message = post.message()
    assert (message["cc"], message["bcc"], message["reply-to"]) == ("carl@example.org", None, "shop@tenant.example")
    html, (attachment,) = message.get_body(("html",)), list(message.iter_attachments())
    assert html is not None
    assert html.get_content().strip() == "<b>Hallo</b>"
    assert (attachment.get_filename(), attachment.get_payload(decode=True)) == ("bill.pdf", b"%PDF")


@pytest.mark.parametrize(
    "changes",
    [
        {"subject": "Hi\r\nBcc: eve@example.org"},
        {"subject": "Hi\nX: y"},
        {"subject": "Hi\x00"},
        {"subject": "Hi\u2028there"},
        {"to": "ann@example.org\r\nBcc: eve@example.org"},
        {"to": "ann@example.org\nDATA"},
        {"to": "ann@example.org, eve@example.org"},
        {"to": "Ann <ann@example.org>"},
        {"to": '"a b"@example.org'},
        {"to": "ann@example.org>\r\nRCPT TO:<eve@example.org"},
        {"cc": "nobody"},
        {"bcc": ["@example.org"]},
        {"reply_to": "a@b\r\nX-Evil: 1"},
        {"to": "ünn@example.org"},
        {"to": "a" * 250 + "@example.org"},
        {"to": []},
        {"to": [f"a{n}@example.org" for n in range(51)]},
        {"text": None},
    ],
)
async def test_what_would_forge_a_header_or_a_recipient_is_refused_and_nothing_is_sent(
    smtp: Smtp, post: Post, changes: dict[str, Any]
) -> None:
    assert failure(await send(smtp, changes))[:2] == ("dlq", "ArgumentError")
    assert post.envelopes == []


async def test_body_cannot_end_the_message(smtp: Smtp, post: Post) -> None:
    await send(smtp, {"text": "one\r\n.\r\nMAIL FROM:<eve@example.org>\r\n"})
    assert len(post.envelopes) == 1
    assert "MAIL FROM:<eve@example.org>" in post.message().get_content()


async def test_refused_recipient_is_told_and_the_others_get_the_mail(smtp: Smtp, post: Post) -> None:
    job = await send(smtp, {"to": ["ann@example.org", "nobody@example.org"]})
    assert (job.result["accepted"], list(job.result["refused"])) == (1, ["nobody@example.org"])
    assert post.envelopes[0].rcpt_tos == ["ann@example.org"]


@pytest.mark.parametrize(("to", "status", "kind"), [("nobody@example.org", "dlq", "Discard"), ("later@example.org", "failed", "Retry")])
async def test_refusal_for_good_buries_and_one_for_now_is_tried_again(smtp: Smtp, to: str, status: str, kind: str) -> None:
    assert failure(await send(smtp, {"to": to}))[:2] == (status, kind)


async def test_server_that_is_away_is_tried_again() -> None:
    job = await send(Smtp(host="127.0.0.1", port=1, security="none", sender="jobs@example.com"))
    assert failure(job)[:2] == ("failed", "Retry")


async def test_server_without_starttls_gets_no_mail_unless_told_so(smtp: Smtp, post: Post) -> None:
    secure = Smtp(host=smtp.host, port=smtp.port, sender=smtp.sender)
    assert failure(await send(secure))[1] == "Retry"
    assert post.envelopes == []


async def test_worker_without_a_mail_server_says_which_setting_is_missing() -> None:
    assert failure(await send(None)) == ("dlq", "Discard", "no mail is sent here: JOBQUEUE_SMTP_HOST is not set for this worker")
