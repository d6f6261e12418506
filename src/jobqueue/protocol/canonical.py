"""When two requests are the same request: 128 bits of SHA-256 over one canonical form.

The form is taken after parsing and defaults, so spelling, order of keys and defaults left out do not count, nor do headers.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from uuid import UUID

import orjson

from jobqueue.domain.errors import InvalidFields
from jobqueue.domain.job import DATA_BYTES_MAX, METADATA_BYTES_MAX
from jobqueue.protocol.jobs import JobRequest, Payload, Priority

FORM: Final = orjson.OPT_SORT_KEYS | orjson.OPT_UTC_Z


@dataclass(slots=True)
class Encoded:
    """A request's parts as they are stored, and what makes it this request. Parts that are empty are None."""

    data_json: str
    tags_json: str | None
    metadata_json: str | None
    request_hash: UUID


def hash_128(content: bytes) -> UUID:
    """Take the first 128 bits of SHA-256."""
    return UUID(bytes=hashlib.sha256(content).digest()[:16])


def hash_key(idempotency_key: str) -> UUID:
    """Hash an idempotency key."""
    return hash_128(idempotency_key.encode("ascii"))


def encode(job: JobRequest, *, root: str = "") -> Encoded:
    """Encode a request. root: where it stands in the body. Raises InvalidFields when data or metadata are too large."""
    data = orjson.dumps(job.payload.data)
    if not job.model_fields_set - PLAIN:
        _check_size(data, DATA_BYTES_MAX, f"{root}/payload/data")
        before, after = plain_form(job.payload.job_type, job.queue, job.priority)
        sorted_data = orjson.dumps(job.payload.data, option=orjson.OPT_SORT_KEYS)
        return Encoded(data.decode(), None, None, hash_128(before + sorted_data + after))
    metadata = orjson.dumps(job.metadata)
    _check_size(data, DATA_BYTES_MAX, f"{root}/payload/data")
    _check_size(metadata, METADATA_BYTES_MAX, f"{root}/metadata")
    return Encoded(
        data_json=data.decode(),
        tags_json=orjson.dumps(job.tags).decode() if job.tags else None,
        metadata_json=metadata.decode() if job.metadata else None,
        request_hash=hash_128(orjson.dumps(_form(job), option=FORM)),
    )


PLAIN: Final = frozenset({"payload", "queue", "priority", "idempotency_key"})
FORMS_MAX: Final = 1_000


@lru_cache(maxsize=FORMS_MAX)
def plain_form(job_type: str, queue: str, priority: Priority) -> tuple[bytes, bytes]:
    """Remember row_form: jobs of a batch mostly name only these fields, and share them."""
    return row_form(job_type=job_type, queue=queue, priority=priority)


def row_form(*, job_type: str, queue: str, priority: Priority) -> tuple[bytes, bytes]:
    """What stands before and after the data in the form of a job that names only these fields: rows of an import need no request each."""
    marker = "\x00data"
    job = JobRequest.model_construct(
        payload=Payload.model_construct(job_type=job_type, data={marker: None}), queue=queue, priority=priority
    )
    before, after = orjson.dumps(_form(job), option=FORM).split(orjson.dumps({marker: None}))
    return before, after


def _form(job: JobRequest) -> list[object]:
    """List what counts, each field at its own place: a new field is added at the end, and only when it is set."""
    return [
        job.payload.job_type,
        job.payload.data,
        job.queue,
        job.priority,
        job.max_attempts,
        job.scheduled_at,
        job.delay_seconds,
        job.timeout_seconds,
        job.expires_in_seconds,
        job.concurrency_key,
        job.tags,
        job.metadata,
    ]


def _check_size(encoded: bytes, bytes_max: int, pointer: str) -> None:
    if len(encoded) > bytes_max:
        raise InvalidFields([(pointer, f"has {len(encoded)} bytes as compact JSON, at most {bytes_max} are allowed")])
