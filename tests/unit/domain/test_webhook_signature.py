"""Signatures, judged by the package of the specification."""

from __future__ import annotations

import time
from uuid import uuid4

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from jobqueue.domain.webhook_signature import SECRET_BYTES, headers, read_secret, write_secret

OLD, NEW, OTHER = (bytes([number]) * SECRET_BYTES for number in (1, 2, 3))
BODY = '{"type":"job.succeeded","data":{"text":"Grüße ✓"}}'


def signed(*secrets: bytes, body: str = BODY, age_s: int = 0) -> dict[str, str]:
    return headers(secrets, delivery_id=uuid4(), timestamp=int(time.time()) - age_s, body=body.encode())


def test_message_is_accepted_by_who_has_the_secret() -> None:
    assert Webhook(write_secret(NEW)).verify(BODY, signed(NEW))["type"] == "job.succeeded"


def test_message_is_accepted_with_the_old_secret_and_the_new_while_one_replaces_the_other() -> None:
    sent = signed(NEW, OLD)
    for secret in (OLD, NEW):
        Webhook(write_secret(secret)).verify(BODY, sent)
    with pytest.raises(WebhookVerificationError):
        Webhook(write_secret(OTHER)).verify(BODY, sent)


@pytest.mark.parametrize(
    ("body", "age_s", "name", "value"),
    [
        (BODY.replace("succeeded", "failed"), 0, None, ""),
        (BODY, 600, None, ""),
        (BODY, 0, "webhook-id", str(uuid4())),
        (BODY, 0, "webhook-timestamp", str(int(time.time()) + 1)),
    ],
    ids=["body", "old", "id", "timestamp"],
)
def test_message_that_was_changed_or_is_old_is_refused(body: str, age_s: int, name: str | None, value: str) -> None:
    sent = signed(NEW, age_s=age_s)
    if name is not None:
        sent[name] = value
    with pytest.raises(WebhookVerificationError):
        Webhook(write_secret(NEW)).verify(body, sent)


def test_signature_is_the_package_s_own() -> None:
    from datetime import UTC, datetime

    sent = signed(NEW)
    at = datetime.fromtimestamp(int(sent["webhook-timestamp"]), UTC)
    assert sent["webhook-signature"] == Webhook(write_secret(NEW)).sign(sent["webhook-id"], at, BODY)


def test_secret_is_read_as_it_was_written() -> None:
    assert read_secret(write_secret(NEW)) == NEW
    for text in ("", "whsec_%", NEW.hex()):
        with pytest.raises(ValueError, match="a secret"):
            read_secret(text)
