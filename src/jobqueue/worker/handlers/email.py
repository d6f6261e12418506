"""Send one mail through the worker's mail server.

The Message-ID is made from the job's id: a mail that was sent twice, since a job runs at least once, is one message to those who sort out
duplicates. Recipients and texts are the tenant's; the sender is the operator's, and the tenant's own address goes into Reply-To.
"""

from __future__ import annotations

import ssl
from email.errors import HeaderParseError, MessageDefect
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Annotated, Any, Final

from pydantic import Field

from jobqueue.worker.handler import ArgumentError, Context, Discard, Retry
from jobqueue.worker.surroundings import Smtp

RECIPIENTS_MAX: Final = 50
ADDRESS_CHARS_MAX: Final = 254
SUBJECT_CHARS_MAX: Final = 998
ATTACHMENTS_MAX: Final = 10
ATTACHMENT_BYTES_MAX: Final = 10 * 1024 * 1024
"""All of them together: what usual servers take, less what base64 adds."""

SEND_S_MAX: Final = 60.0
PORTS: Final = {"starttls": 587, "tls": 465, "none": 25}
PERMANENT: Final = range(500, 600)

Recipients = Annotated[list[str], Field(min_length=1, max_length=RECIPIENTS_MAX)]


async def email(
    ctx: Context,
    to: str | Recipients,
    subject: Annotated[str, Field(min_length=1, max_length=SUBJECT_CHARS_MAX)],
    text: str | None = None,
    html: str | None = None,
    cc: str | Recipients | None = None,
    bcc: str | Recipients | None = None,
    reply_to: str | None = None,
    attachments: Annotated[list[str], Field(max_length=ATTACHMENTS_MAX)] | None = None,
) -> dict[str, Any]:
    """Send the mail; `attachments` are paths of the tenant's files. Raises Discard for what the server refuses for good, Retry else."""
    if ctx.surroundings.smtp is None:
        raise Discard("no mail is sent here: JOBQUEUE_SMTP_HOST is not set for this worker")
    if text is None and html is None:
        raise ArgumentError("argument 'text' or argument 'html' is needed")
    smtp = ctx.surroundings.smtp
    open_to, hidden = {"To": _list(to), "Cc": _list(cc)}, _list(bcc)
    recipients = [address for addresses in (*open_to.values(), hidden) for address in addresses]
    if len(recipients) > RECIPIENTS_MAX:
        raise ArgumentError(f"at most {RECIPIENTS_MAX} recipients in all")
    for address in [*recipients, *_list(reply_to)]:
        _check_address(address)
    message = _message(ctx, smtp, subject, {**open_to, "Reply-To": _list(reply_to)})
    _set_content(message, text, html)
    _attach(ctx, message, attachments or [])
    refused = await _send(smtp, message, recipients)
    return {"message_id": message["Message-ID"], "accepted": len(recipients) - len(refused), "refused": refused}


def _list(value: str | list[str] | None) -> list[str]:
    return [] if value is None else [value] if isinstance(value, str) else value


def _check_address(address: str) -> None:
    """Take plain addresses only, `name@host`: nothing that ends a header or opens a second address. Raises ArgumentError."""
    try:
        parsed = Address(addr_spec=address)
    except (ValueError, IndexError, HeaderParseError, MessageDefect):
        parsed = None
    is_plain = address.isascii() and address.isprintable() and not set(address) & set(' ,;:<>()[]"\\')
    if parsed is None or not is_plain or not parsed.domain or not parsed.username or len(address) > ADDRESS_CHARS_MAX:
        raise ArgumentError(f"an address is written name@host.example, in ASCII: {address[:80]!r} is none")


def _message(ctx: Context, smtp: Smtp, subject: str, addresses: dict[str, list[str]]) -> EmailMessage:
    if not subject.isprintable():
        raise ArgumentError("argument 'subject' has a line end or another control character")
    message = EmailMessage()
    message["From"] = smtp.sender
    for name, given in addresses.items():
        if given:
            message[name] = ", ".join(given)
    message["Subject"] = subject
    message["Date"] = format_datetime(ctx.job.created_at)
    message["Message-ID"] = f"<{ctx.job.id}@{smtp.sender.rpartition('@')[2].strip('<> ')}>"
    return message


def _set_content(message: EmailMessage, text: str | None, html: str | None) -> None:
    if text is not None:
        message.set_content(text)
    if html is not None and text is not None:
        message.add_alternative(html, subtype="html")
    elif html is not None:
        message.set_content(html, subtype="html")


def _attach(ctx: Context, message: EmailMessage, paths: list[str]) -> None:
    left = ATTACHMENT_BYTES_MAX
    for path in paths:
        with ctx.files.read(path, bytes_max=left) as file:
            data = file.read()
        left -= len(data)
        message.add_attachment(data, maintype="application", subtype="octet-stream", filename=path.rpartition("/")[2])


async def _send(smtp: Smtp, message: EmailMessage, recipients: list[str]) -> dict[str, str]:
    """Hand the mail over; answers the recipients the server did not take, with what it said."""
    import aiosmtplib  # part of the extra `handlers`

    tls = None if smtp.security == "none" else ssl.create_default_context()
    client = aiosmtplib.SMTP(
        hostname=smtp.host,
        port=smtp.port or PORTS[smtp.security],
        username=smtp.username,
        password=smtp.password,
        use_tls=smtp.security == "tls",
        start_tls=smtp.security == "starttls",
        tls_context=tls,
        timeout=SEND_S_MAX,
    )
    try:
        async with client:
            refused, _ = await client.send_message(message, recipients=recipients)
    except aiosmtplib.SMTPRecipientsRefused as error:
        answers = {each.recipient: f"{each.code} {each.message}" for each in error.recipients}
        if all(each.code in PERMANENT for each in error.recipients):
            raise Discard(f"the server refuses every recipient: {answers}") from None
        raise Retry(reason=f"the server takes no recipient now: {answers}") from None
    except aiosmtplib.SMTPResponseException as error:
        said = f"the mail server said {error.code} {error.message}"
        if error.code in PERMANENT and not isinstance(error, aiosmtplib.SMTPAuthenticationError):
            raise Discard(said) from None
        raise Retry(reason=said) from None
    except (aiosmtplib.SMTPException, OSError) as error:
        raise Retry(reason=f"the mail server does not answer: {type(error).__name__}: {error}") from None
    return {recipient: f"{answer.code} {answer.message}" for recipient, answer in refused.items()}
