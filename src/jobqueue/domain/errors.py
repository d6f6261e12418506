"""Every error a caller can react to, as one tree.

    JobQueueError
    ├── InvalidRequest          the request can never succeed as it is
    │   ├── InvalidFields           names the fields
    │   ├── BodyMalformed           not JSON at all; names the place
    │   ├── BodyTooLarge
    │   ├── MediaTypeRefused        not a kind of body this call takes
    │   ├── HeaderInvalid           names the header
    │   ├── CursorInvalid           not a cursor of this list and these filters
    │   ├── PageTooDeep             beyond what page numbers reach
    │   ├── IdempotencyKeyMissing
    │   ├── IdempotencyKeyInvalid
    │   └── IdempotencyKeyReused    the key belongs to another body
    ├── AccessRefused
    │   ├── Unauthenticated
    │   ├── ScopeMissing
    │   ├── RegistrationClosed
    │   └── WrongTenant
    ├── NotFound                    also: belongs to another tenant
    ├── Conflict                    the state of the world refuses it now
    │   ├── SubmitInProgress        a twin holds the key in an open transaction
    │   ├── WrongState              the job is not in a state that allows this
    │   ├── AttemptsExhausted
    │   ├── NotFinished
    │   ├── NameTaken
    │   ├── KeysExhausted           the tenant has as many API keys as it may have
    │   ├── WebhooksExhausted       the tenant has as many webhooks as it may have
    │   ├── WebhookDisabled         nothing is sent to it
    │   └── LeaseLost
    ├── LimitReached
    │   ├── QueueFull
    │   ├── RateLimited
    │   ├── TooManyAttempts         logins and registrations of an account or an address
    │   └── TooManyStreams
    └── Unavailable                 try again, with the same key or token
        ├── DatabaseUnavailable
        └── Overloaded

`code` is public and never changes; the HTTP status is the door's business (api/problems.py).
"""

from __future__ import annotations

from typing import ClassVar


class JobQueueError(Exception):
    """Base of every error of this product. The message is one sentence for the caller, without secrets."""

    code: ClassVar[str] = "error"


class InvalidRequest(JobQueueError):
    """The request can never succeed as it is."""

    code = "invalid_request"


class InvalidFields(InvalidRequest):
    """Some fields are wrong; `fields` names each by JSON pointer with what to change."""

    code = "invalid_fields"

    def __init__(self, fields: list[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{pointer}: {detail}" for pointer, detail in fields))
        self.fields = fields


class BodyMalformed(InvalidRequest):
    """The body is not JSON; `fields` names the place by JSON pointer, as far as the body could be read."""

    code = "body_malformed"

    def __init__(self, fields: list[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{pointer}: {detail}" if pointer else detail for pointer, detail in fields))
        self.fields = fields


class BodyTooLarge(InvalidRequest):
    """The body has more than `bytes_max` bytes."""

    code = "body_too_large"

    def __init__(self, *, bytes_max: int) -> None:
        super().__init__(f"the body may have at most {bytes_max} bytes")
        self.bytes_max = bytes_max


class MediaTypeRefused(InvalidRequest):
    """The body is of a kind the call does not take."""

    code = "media_type_refused"


class HeaderInvalid(InvalidRequest):
    """The header `header` cannot be read."""

    code = "header_invalid"

    def __init__(self, message: str, *, header: str) -> None:
        super().__init__(message)
        self.header = header


class CursorInvalid(InvalidRequest):
    """The cursor is not one of this list, or was made under other filters."""

    code = "cursor_invalid"


class PageTooDeep(InvalidRequest):
    """Page numbers reach only so far; a cursor costs the same at any depth."""

    code = "page_too_deep"


class IdempotencyKeyMissing(InvalidRequest):
    """The call needs an Idempotency-Key header."""

    code = "idempotency_key_missing"


class IdempotencyKeyInvalid(InvalidRequest):
    """The Idempotency-Key is not 1-255 printable ASCII characters."""

    code = "idempotency_key_invalid"


class IdempotencyKeyReused(InvalidRequest):
    """The Idempotency-Key was used with another body; `job_id` holds the key."""

    code = "idempotency_key_reused"

    def __init__(self, message: str, *, job_id: str) -> None:
        super().__init__(message)
        self.job_id = job_id


class AccessRefused(JobQueueError):
    """The caller may not do this."""

    code = "forbidden"


class Unauthenticated(AccessRefused):
    """The credential is missing, malformed, expired, revoked or forged: never said which."""

    code = "unauthenticated"


class ScopeMissing(AccessRefused):
    """The credential is good but lacks `scope`."""

    code = "scope_missing"

    def __init__(self, scope: str) -> None:
        super().__init__(f"this call needs the scope {scope}")
        self.scope = scope


class RegistrationClosed(AccessRefused):
    """Nobody may register here: an operator makes the tenants."""

    code = "registration_closed"


class WrongTenant(AccessRefused):
    """The call names another tenant than the credential's."""

    code = "wrong_tenant"


class NotFound(JobQueueError):
    """There is no such thing for this tenant."""

    code = "not_found"


class Conflict(JobQueueError):
    """The present state refuses the call; another time it may pass."""

    code = "conflict"


class SubmitInProgress(Conflict):
    """A request with the same Idempotency-Key is still under way."""

    code = "submit_in_progress"


class WrongState(Conflict):
    """The job's `status` does not allow this verb."""

    code = "wrong_state"

    def __init__(self, message: str, *, status: str) -> None:
        super().__init__(message)
        self.status = status


class AttemptsExhausted(Conflict):
    """The job has no attempts left and the call did not reset them."""

    code = "attempts_exhausted"


class NotFinished(Conflict):
    """The job has not ended yet."""

    code = "not_finished"


class NameTaken(Conflict):
    """The name belongs to somebody already."""

    code = "name_taken"


class KeysExhausted(Conflict):
    """The tenant has as many API keys as it may have; delete one that is not used any more."""

    code = "keys_exhausted"


class WebhooksExhausted(Conflict):
    """The tenant has as many webhooks as it may have; delete one that is not used any more."""

    code = "webhooks_exhausted"


class WebhookDisabled(Conflict):
    """The webhook is disabled, so nothing is sent to it."""

    code = "webhook_disabled"


class LeaseLost(Conflict):
    """The lease is no longer the caller's: it expired, or another worker holds a newer one."""

    code = "lease_lost"


class LimitReached(JobQueueError):
    """A limit of the tenant is reached; pass again after `retry_after_s`."""

    code = "limit_reached"

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class QueueFull(LimitReached):
    """The tenant has as many waiting jobs as it may have."""

    code = "queue_full"


class RateLimited(LimitReached):
    """The tenant has made as many requests as its rate allows."""

    code = "rate_limited"


class TooManyAttempts(LimitReached):
    """Too many logins or registrations were tried for this account or from this address."""

    code = "too_many_attempts"


class TooManyStreams(LimitReached):
    """The tenant has as many live streams open as it may have."""

    code = "too_many_streams"


class Unavailable(JobQueueError):
    """The service cannot answer now. Trying again with the same key or token is safe."""

    code = "unavailable"


class DatabaseUnavailable(Unavailable):
    """The database did not answer in time; whether a write happened is not known."""

    code = "database_unavailable"


class Overloaded(Unavailable):
    """A bounded queue inside the process is full."""

    code = "overloaded"


class UnsafeDatabase(JobQueueError):
    """The server runs with fsync or full_page_writes off: a crash would lose accepted jobs."""

    code = "unsafe_database"


class SchemaTooOld(JobQueueError):
    """The database's schema is older than this program needs: run `jobqueue migrate`."""

    code = "schema_too_old"
